"""Speed of a replay, with a clock that the test moves."""

from market_data_service.pacing import Pacer


class HandClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_instant_is_due_after_its_distance_divided_by_the_speed() -> None:
    clock = HandClock()
    pacer = Pacer(10.0, clock)
    pacer.begin(1_000_000)
    assert pacer.delay_s(1_005_000) == 0.5
    clock.now_s += 0.2
    assert abs(pacer.delay_s(1_005_000) - 0.3) < 1e-9


def test_who_fell_behind_does_not_wait_until_it_has_caught_up() -> None:
    clock = HandClock()
    pacer = Pacer(1.0, clock)
    pacer.begin(0)
    clock.now_s += 10
    assert pacer.delay_s(5_000) == 0
    assert pacer.delay_s(9_999) == 0
    assert pacer.delay_s(10_500) == 0.5


def test_only_the_first_begin_counts() -> None:
    clock = HandClock()
    pacer = Pacer(1.0, clock)
    pacer.begin(0)
    clock.now_s += 1
    pacer.begin(0)
    assert pacer.delay_s(2_000) == 1


def test_without_a_limit_and_before_the_beginning_nothing_waits() -> None:
    unlimited = Pacer(None, HandClock())
    unlimited.begin(0)
    assert unlimited.delay_s(10**15) == 0
    assert Pacer(1.0, HandClock()).delay_s(10**15) == 0
