"""The exchange's time between measurements."""

from hypothesis import given
from hypothesis import strategies as st

from market_data_service.venue_clock import VenueClock


class HandClock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_answer_sets_the_time_to_the_middle_of_its_journey() -> None:
    hand = HandClock()
    clock = VenueClock(hand)
    assert clock.now_ms() == 0
    clock.measured(sent_ms=49_900, received_ms=50_000, server_ms=1_000_000)
    assert clock.now_ms() == 1_000_050
    hand.now_s += 2
    assert clock.now_ms() == 1_002_050


def test_a_slow_answer_that_agrees_changes_nothing() -> None:
    clock = VenueClock(HandClock())
    clock.measured(sent_ms=49_990, received_ms=50_000, server_ms=1_000_000)
    clock.measured(sent_ms=45_000, received_ms=50_000, server_ms=996_000)
    assert clock.now_ms() == 1_000_005


def test_the_time_stands_still_rather_than_going_back() -> None:
    hand = HandClock()
    clock = VenueClock(hand)
    clock.measured(sent_ms=50_000, received_ms=50_000, server_ms=1_000_000)
    assert clock.now_ms() == 1_000_000
    clock.measured(sent_ms=50_000, received_ms=50_000, server_ms=999_000)
    assert clock.now_ms() == 1_000_000
    hand.now_s += 1.5
    assert clock.now_ms() == 1_000_500


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=30))
def test_the_error_never_exceeds_the_fastest_answer_while_clocks_run_alike(
    journeys: list[tuple[float, float, float]],
) -> None:
    hand = HandClock()
    clock = VenueClock(hand)
    fastest_ms = float("inf")
    for pause_s, journey_s, share in journeys:
        hand.now_s += pause_s
        sent_ms = clock.local_ms()
        server_ms = int(sent_ms + journey_s * share * 1000 + 7_000_000)
        hand.now_s += journey_s
        clock.measured(sent_ms=sent_ms, received_ms=clock.local_ms(), server_ms=server_ms)
        fastest_ms = min(fastest_ms, journey_s * 1000)
    hand.now_s += 100
    assert abs(clock.now_ms() - (clock.local_ms() + 7_000_000)) <= fastest_ms + 2


@given(st.integers(-86_400_000, 86_400_000).filter(lambda step: abs(step) > 2_500))
def test_one_answer_that_steps_is_not_believed_and_three_that_agree_are(step_ms: int) -> None:
    hand = HandClock()
    clock = VenueClock(hand)
    begin_ms = 1_700_000_000_000
    assert clock.measured(sent_ms=clock.local_ms(), received_ms=clock.local_ms(), server_ms=begin_ms)
    assert not clock.measured(sent_ms=clock.local_ms(), received_ms=clock.local_ms(), server_ms=begin_ms + step_ms)
    assert clock.now_ms() == begin_ms
    assert clock.measured(sent_ms=clock.local_ms(), received_ms=clock.local_ms(), server_ms=begin_ms), "a slip"
    believed = [
        clock.measured(sent_ms=clock.local_ms(), received_ms=clock.local_ms(), server_ms=begin_ms + step_ms)
        for _ in range(3)
    ]
    assert believed == [False, False, True]
    assert clock.now_ms() == begin_ms + max(0, step_ms), "forwards it is followed, backwards it stands still"
