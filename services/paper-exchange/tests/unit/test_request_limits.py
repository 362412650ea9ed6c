"""Request limits: per account and endpoint, and per address."""

from paper_exchange_service.rate_limits import RateLimits


def test_the_eleventh_order_within_a_second_is_refused_and_the_first_to_leave_the_window_makes_room() -> None:
    limits = RateLimits(enforced=True)
    taken = [limits.take(1, "order/create", 10, 1, 1_000 + number) for number in range(11)]
    assert [allowance.granted for allowance in taken] == [1] * 10 + [0]
    assert [allowance.left for allowance in taken] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert taken[-1].reset_ms == 2_000
    assert limits.take(1, "order/create", 10, 1, 2_000).granted == 1
    assert limits.breaches == {"order/create": 1}


def test_accounts_and_endpoints_are_counted_apart() -> None:
    limits = RateLimits(enforced=True)
    for _ in range(10):
        limits.take(1, "order/create", 10, 1, 0)
    assert limits.take(2, "order/create", 10, 1, 0).granted == 1
    assert limits.take(1, "order/cancel", 10, 1, 0).granted == 1


def test_of_a_batch_the_first_orders_pass() -> None:
    limits = RateLimits(enforced=True)
    limits.take(1, "order/create-batch", 10, 5, 0)
    assert limits.take(1, "order/create-batch", 10, 8, 0).granted == 5


def test_limits_that_are_off_let_everything_pass_but_count_the_breaches() -> None:
    limits = RateLimits(enforced=False)
    assert all(limits.take(1, "order/create", 10, 1, 0).granted for _ in range(25))
    assert all(limits.admit("127.0.0.1", 0) for _ in range(700))
    assert limits.breaches == {"order/create": 15}
    assert limits.address_breaches == 100


def test_an_address_beyond_600_requests_in_5_seconds_is_banned() -> None:
    limits = RateLimits(enforced=True, ban_ms=600_000)
    assert all(limits.admit("a", number) for number in range(600))
    assert not limits.admit("a", 600)
    assert not limits.admit("a", 600_599)
    assert limits.admit("b", 601)
    assert limits.admit("a", 600_600)


def test_limits_can_be_set_per_endpoint_and_address() -> None:
    limits = RateLimits(enforced=True, address_limit=3, endpoint_limits={"order/create": 20})
    assert sum(limits.take(1, "order/create", 10, 1, 0).granted for _ in range(25)) == 20
    assert sum(limits.take(1, "order/cancel", 10, 1, 0).granted for _ in range(25)) == 10
    assert [limits.admit("a", 0) for _ in range(4)] == [True, True, True, False]


def test_the_highest_rate_is_told_with_the_ends_of_its_burst() -> None:
    limits = RateLimits(enforced=False)
    for now_ms in (100, 2_000, 2_500, 2_999, 3_000, 9_000):
        limits.take(1, "order/create", 10, 1, now_ms)
        limits.admit("a", now_ms)
    usage = limits.usage({1: "main"})
    assert usage["endpoints"]["main"]["order/create"] == {
        "limit": 10,
        "window_ms": 1000,
        "peak": 3,
        "peak_first_ms": 2_000,
        "peak_last_ms": 2_999,
        "total": 6,
        "first_ms": 100,
        "last_ms": 9_000,
    }
    assert (usage["addresses"]["a"]["peak"], usage["addresses"]["a"]["peak_last_ms"]) == (5, 3_000)


def test_a_batch_counts_each_of_its_orders_in_the_rate() -> None:
    limits = RateLimits(enforced=True)
    limits.take(1, "order/create-batch", 10, 8, 0)
    limits.take(1, "order/create-batch", 10, 8, 1)
    row = limits.usage({1: "main"})["endpoints"]["main"]["order/create-batch"]
    assert (row["peak"], row["total"]) == (16, 16)
