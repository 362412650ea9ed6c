"""How failures are classed: what is known about an order afterwards, and what the caller should do."""

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit import errors
from breakwater_bybit.errors import (
    ClockSkew,
    CredentialError,
    DuplicateOrderLinkId,
    ExchangeError,
    IpBanned,
    NotModified,
    NotSent,
    OrderNotFound,
    RateLimited,
    Rejected,
    RejectReason,
    RequestKind,
    Unavailable,
    UnknownOutcome,
    clean_text,
    error_of_code,
    error_of_network,
    error_of_status,
)
from breakwater_core.errors import PermanentError, TransientError

DOCUMENTED = {
    UnknownOutcome: (10000, 10014, 10016, 10019, 10403, 10429, 110079),
    ClockSkew: (10002,),
    CredentialError: (10003, 10004, 10005, 10007, 10008, 10009, 10010, 33004),
    RateLimited: (10006, 20003),
    IpBanned: (10018,),
    OrderNotFound: (110001, 110008, 110010),
    NotModified: (110025, 110043),
    DuplicateOrderLinkId: (110072,),
    Rejected: (
        *(10001, 10017, 10027, 10028, 10029, 10404, 110003, 110004, 110006, 110007, 110012, 110017, 110020, 110021),
        *(110024, 110028, 110034, 110044, 110045, 110051, 110052, 110053, 110063, 110066, 110074, 110090, 110092),
        *(110093, 110094),
    ),
}
CASES = [(code, kind) for kind, codes in DOCUMENTED.items() for code in codes]


def _order_error(code: int, text: str = "words", **headers: str) -> ExchangeError:
    return error_of_code(code, text, endpoint="order/create", kind=RequestKind.ORDER, headers=headers)


@pytest.mark.parametrize(("code", "kind"), CASES)
def test_documented_code_has_its_class(code: int, kind: type[ExchangeError]) -> None:
    error = _order_error(code)
    assert type(error) is kind
    assert error.ret_code == code
    assert str(code) in str(error)


@pytest.mark.parametrize("code", [code for code, kind in CASES if kind is Rejected and code != 110079])
def test_documented_refusal_has_a_reason(code: int) -> None:
    error = _order_error(code)
    assert isinstance(error, Rejected)
    assert error.reason is not RejectReason.OTHER


@given(st.integers(1, 9_999_999), st.sampled_from(RequestKind))
def test_every_code_is_either_transient_or_permanent(code: int, kind: RequestKind) -> None:
    error = error_of_code(code, "", endpoint="order/create", kind=kind)
    assert isinstance(error, TransientError) != isinstance(error, PermanentError)


@given(st.integers(10_000, 29_999))
def test_a_system_code_never_passes_for_a_refusal_unless_it_is_known(code: int) -> None:
    error = _order_error(code)
    if code not in {code for code, _ in CASES}:
        assert isinstance(error, UnknownOutcome)


def test_what_is_unknown_for_an_order_is_only_unavailable_for_a_query() -> None:
    assert isinstance(error_of_code(10016, "", endpoint="order/realtime", kind=RequestKind.QUERY), Unavailable)
    assert isinstance(error_of_status(502, endpoint="order/realtime", kind=RequestKind.QUERY), Unavailable)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, CredentialError),
        (403, IpBanned),
        (404, Rejected),
        (429, UnknownOutcome),
        (500, UnknownOutcome),
        (502, UnknownOutcome),
        (503, UnknownOutcome),
        (504, UnknownOutcome),
        (302, UnknownOutcome),
    ],
)
def test_http_status_of_an_order_has_its_class(status: int, kind: type[ExchangeError]) -> None:
    error = error_of_status(status, endpoint="order/create", kind=RequestKind.ORDER)
    assert type(error) is kind
    assert error.http_status == status


def test_setter_that_says_not_modified_under_a_general_code_succeeded() -> None:
    error = error_of_code(10001, "position mode not modified", endpoint="x", kind=RequestKind.CHANGE)
    assert isinstance(error, NotModified)
    assert isinstance(_order_error(10001, "not modified"), Rejected)


def test_rate_limit_tells_when_it_ends() -> None:
    error = _order_error(10006, **{"X-Bapi-Limit-Reset-Timestamp": "1700000000123"})
    assert isinstance(error, RateLimited)
    assert error.reset_at_ms == 1_700_000_000_123
    without = _order_error(10006)
    assert isinstance(without, RateLimited)
    assert without.reset_at_ms is None


@pytest.mark.parametrize(
    "error",
    [requests.ReadTimeout(), requests.ConnectionError("Connection aborted."), requests.exceptions.SSLError("eof")],
)
def test_failure_after_sending_leaves_an_order_unknown(error: Exception) -> None:
    assert isinstance(error_of_network(error, endpoint="order/create", kind=RequestKind.ORDER), UnknownOutcome)


def test_connect_timeout_is_definite() -> None:
    error = error_of_network(requests.ConnectTimeout(), endpoint="order/create", kind=RequestKind.ORDER)
    assert isinstance(error, NotSent)


@given(st.text(max_size=400), st.text("abcdef0123456789", min_size=8, max_size=40))
def test_no_text_of_the_exchange_brings_a_secret_into_a_message(text: str, secret: str) -> None:
    error = error_of_code(10001, f"{text} {secret} {text}", endpoint="x", kind=RequestKind.ORDER, secrets=(secret,))
    assert secret not in str(error)
    assert secret not in error.text


def test_signed_text_quoted_by_the_exchange_is_cut() -> None:
    said = clean_text('error sign! origin_string[1700key5000{"qty":"1"}]')
    assert said == "error sign! origin_string[...]"
    assert "\n" not in clean_text("a\nb")
    assert len(clean_text("x" * 5000)) < 300
    assert errors.BAN_MS == 600_000
