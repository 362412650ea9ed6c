"""What a failed order request says about the order: the exchange's error classes in the terms of an order's life."""

from breakwater_bybit import errors
from executor_service.order_life import Acknowledged, Answer, NotPlaced, Refusal, Rejected, Unclear
from executor_service.venue_clock import wall_clock_ms

_SHORTEST_RETRY_S = 0.05
_LONGEST_RETRY_S = 5.0
_RETRIES_S: dict[type[errors.ExchangeError], float] = {errors.NotSent: 0.5, errors.ClockSkew: 1.0, errors.IpBanned: 5.0}


def answer_of(error: errors.ExchangeError) -> Answer:
    """Return what an error of `place_market_order` says; whatever is not definite is unclear."""
    match error:
        case errors.DuplicateOrderLinkId():
            return Acknowledged()
        case errors.Rejected(reason=reason):
            return Rejected(Refusal(error.ret_code, reason.value, str(error)))
        case errors.CredentialError():
            return Rejected(Refusal(error.ret_code, "credentials", str(error)))
        case errors.RateLimited(reset_at_ms=reset_at_ms):
            wait_s = _SHORTEST_RETRY_S if reset_at_ms is None else (reset_at_ms - wall_clock_ms()) / 1000
            return NotPlaced(min(max(wait_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S), str(error))
        case errors.NotSent() | errors.ClockSkew() | errors.IpBanned():
            has_left = error.http_status is not None or error.ret_code is not None
            return NotPlaced(_RETRIES_S[type(error)], str(error), has_left=has_left)
    return Unclear(str(error))
