"""Every error class of the exchange is one of four answers; what is not definite is unclear."""

import pytest

from breakwater_bybit import errors
from executor_service.answers import answer_of
from executor_service.order_life import Acknowledged, NotPlaced, Rejected, Unclear
from executor_service.venue_clock import wall_clock_ms


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.DuplicateOrderLinkId("before", ret_code=110072), Acknowledged),
        (errors.Rejected("no", reason=errors.RejectReason.OTHER, ret_code=170001), Rejected),
        (errors.CredentialError("expired", ret_code=33004), Rejected),
        (errors.RateLimited("later", reset_at_ms=None), NotPlaced),
        (errors.NotSent("no connection"), NotPlaced),
        (errors.ClockSkew("late", ret_code=10002), NotPlaced),
        (errors.IpBanned("banned", http_status=403), NotPlaced),
        (errors.UnknownOutcome("timeout"), Unclear),
        (errors.Unavailable("odd"), Unclear),
        (errors.OrderNotFound("odd"), Unclear),
        (errors.NotModified("odd"), Unclear),
    ],
)
def test_each_error_is_one_answer(error: errors.ExchangeError, kind: type) -> None:
    assert isinstance(answer_of(error), kind)


@pytest.mark.parametrize("ahead_ms", [-10_000, 0, 200, 10**9])
def test_a_rate_limit_waits_for_its_reset_but_neither_negatively_nor_for_ever(ahead_ms: int) -> None:
    answer = answer_of(errors.RateLimited("later", reset_at_ms=wall_clock_ms() + ahead_ms))
    assert isinstance(answer, NotPlaced)
    assert 0.05 <= answer.retry_after_s <= 5.0
