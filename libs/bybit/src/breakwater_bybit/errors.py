"""Failures of a request, classed by what is known about its effect and by what the caller should do.

For an order the question is always: can it exist? `Rejected`, `RateLimited`, `IpBanned`, `ClockSkew`,
`CredentialError` and `NotSent` say no; `DuplicateOrderLinkId` says yes; `UnknownOutcome` says find out first.
Codes decide, never texts, which change (the one exception is marked). No message holds a key, a secret, a
signature or the body of a request.
"""

import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from http import HTTPStatus

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from breakwater_core.errors import BreakwaterError, PermanentError, TransientError

BAN_MS = 600_000
"""After HTTP 403 for too many requests Bybit wants ten minutes without any."""

_RESET_HEADER = "X-Bapi-Limit-Reset-Timestamp"
_LONGEST_TEXT = 200


class RequestKind(StrEnum):
    """What a request may change; it decides what a lost answer means."""

    ORDER = "order"
    """Places an order."""
    CHANGE = "change"
    """Cancels orders or changes settings."""
    QUERY = "query"
    """Changes nothing."""


class RejectReason(StrEnum):
    """Why the exchange refused a request."""

    BAD_PARAMETER = "bad_parameter"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    REDUCE_ONLY = "reduce_only"
    PRICE_OUT_OF_RANGE = "price_out_of_range"
    TRIGGER_PRICE = "trigger_price"
    BELOW_MIN_NOTIONAL = "below_min_notional"
    TOO_MANY_ORDERS = "too_many_orders"
    POSITION_LIMIT = "position_limit"
    NOT_TRADABLE = "not_tradable"
    MODE_LOCKED = "mode_locked"
    ACCOUNT_RESTRICTED = "account_restricted"
    BAD_ENDPOINT = "bad_endpoint"
    OTHER = "other"


class ExchangeError(BreakwaterError):
    """Base of every failure of a request.

    Attributes:
        ret_code: Bybit's code; None when there was no answer with one.
        http_status: HTTP status; None when there was no answer.
        text: The exchange's words, shortened and without secrets; empty when there was no answer.
    """

    def __init__(
        self, message: str, *, ret_code: int | None = None, http_status: int | None = None, text: str = ""
    ) -> None:
        super().__init__(message)
        self.ret_code = ret_code
        self.http_status = http_status
        self.text = text


class Rejected(ExchangeError, PermanentError):
    """The exchange refused: nothing was placed or changed."""

    def __init__(
        self,
        message: str,
        *,
        reason: RejectReason,
        ret_code: int | None = None,
        http_status: int | None = None,
        text: str = "",
    ) -> None:
        super().__init__(message, ret_code=ret_code, http_status=http_status, text=text)
        self.reason = reason


class DuplicateOrderLinkId(ExchangeError, PermanentError):
    """The order link id was used before: the order exists already; read it instead of sending another."""


class OrderNotFound(ExchangeError, PermanentError):
    """There is no such open order: it never existed, or it is filled or cancelled."""


class NotModified(ExchangeError, PermanentError):
    """The setting already had the wanted value: as good as success."""


class CredentialError(ExchangeError, PermanentError):
    """The key is invalid, expired, lacks a right, or is used from a foreign address or at the wrong host."""


class UnknownOutcome(ExchangeError, TransientError):
    """The request may or may not have taken effect: look it up before anything else is sent."""


class Unavailable(ExchangeError, TransientError):
    """A query got no usable answer; it changes nothing, so it may be repeated."""


class NotSent(ExchangeError, TransientError):
    """No connection came about, so the request never left: nothing was placed or changed."""


class ClockSkew(ExchangeError, TransientError):
    """The request's stamp lies outside the exchange's window: nothing was placed or changed."""


class RateLimited(ExchangeError, TransientError):
    """Too many requests of one account: nothing was placed or changed.

    Attributes:
        reset_at_ms: When the exchange counts anew, by its clock; None when not stated. May lie in the past.
    """

    def __init__(
        self,
        message: str,
        *,
        reset_at_ms: int | None,
        ret_code: int | None = None,
        http_status: int | None = None,
        text: str = "",
    ) -> None:
        super().__init__(message, ret_code=ret_code, http_status=http_status, text=text)
        self.reset_at_ms = reset_at_ms


class IpBanned(ExchangeError, TransientError):
    """The exchange refuses this address: nothing was placed or changed, and nothing may be sent for ten minutes."""


_REJECTIONS = {
    10001: RejectReason.BAD_PARAMETER,
    10017: RejectReason.BAD_ENDPOINT,
    10027: RejectReason.ACCOUNT_RESTRICTED,
    10028: RejectReason.ACCOUNT_RESTRICTED,
    10029: RejectReason.ACCOUNT_RESTRICTED,
    10404: RejectReason.BAD_ENDPOINT,
    110003: RejectReason.PRICE_OUT_OF_RANGE,
    110017: RejectReason.REDUCE_ONLY,
    110020: RejectReason.TOO_MANY_ORDERS,
    110021: RejectReason.POSITION_LIMIT,
    110024: RejectReason.MODE_LOCKED,
    110028: RejectReason.MODE_LOCKED,
    110034: RejectReason.REDUCE_ONLY,
    110063: RejectReason.NOT_TRADABLE,
    110066: RejectReason.NOT_TRADABLE,
    110074: RejectReason.NOT_TRADABLE,
    110090: RejectReason.POSITION_LIMIT,
    110092: RejectReason.TRIGGER_PRICE,
    110093: RejectReason.TRIGGER_PRICE,
    110094: RejectReason.BELOW_MIN_NOTIONAL,
} | dict.fromkeys(
    (110004, 110006, 110007, 110012, 110044, 110045, 110051, 110052, 110053), RejectReason.INSUFFICIENT_MARGIN
)
_CREDENTIALS = frozenset({10003, 10004, 10005, 10007, 10008, 10009, 10010, 33004})
_NOT_MODIFIED = frozenset({110025, 110026, 110027, 110043})
_GONE = frozenset({110001, 110008, 110010})
_RATE_LIMITS = frozenset({10006, 20003})
_UNKNOWN = frozenset({10000, 10014, 10016, 10019, 10403, 10429, 110079})
_CREDENTIAL_HELP = {
    10003: "the key is invalid or belongs to another environment; check the key and the endpoint",
    10004: "the signature is wrong; check the secret",
    10005: "the key lacks a right; give it ContractTrade Order and Position",
    10010: "this address is not on the key's list; add the egress address to the key",
    33004: "the key has expired; create a new one",
}


def error_of_code(
    code: int,
    text: str,
    *,
    endpoint: str,
    kind: RequestKind,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
) -> ExchangeError:
    """Return the error that a `retCode` other than 0 stands for.

    Args:
        code: `retCode`.
        text: `retMsg`, as received.
        endpoint: Path without `/v5/`, e.g. `order/create`.
        kind: What the request may change.
        headers: Headers of the answer; they tell when a rate limit ends.
        secrets: Texts that must not appear in the message.
    """
    said = clean_text(text, secrets)
    where = f"{endpoint}: the exchange answered {code}"
    quoted = f" ({said})" if said else ""
    if code == 110072:
        return DuplicateOrderLinkId(
            f"{where}: this order link id was used before; read the order", ret_code=code, text=said
        )
    if code in _NOT_MODIFIED or (code == 10001 and kind is RequestKind.CHANGE and "not modified" in said.lower()):
        return NotModified(f"{where}{quoted}: the setting is as wanted already", ret_code=code, text=said)
    if code in _GONE:
        return OrderNotFound(f"{where}{quoted}: there is no such open order", ret_code=code, text=said)
    if code in _RATE_LIMITS:
        return RateLimited(
            f"{where}: too many requests of this account; wait for the next second",
            reset_at_ms=_reset_at_ms(headers or {}),
            ret_code=code,
            text=said,
        )
    if code == 10018:
        return IpBanned(f"{where}: too many requests of this address; pause ten minutes", ret_code=code, text=said)
    if code == 10002:
        return ClockSkew(f"{where}{quoted}: synchronise this machine's clock", ret_code=code, text=said)
    if code in _CREDENTIALS:
        advice = _CREDENTIAL_HELP.get(code, "the exchange refuses the key or the account; see its message")
        return CredentialError(f"{where}{quoted}: {advice}", ret_code=code, text=said)
    if _is_definite(code):
        reason = _REJECTIONS.get(code, RejectReason.OTHER)
        return Rejected(f"{where}{quoted}: refused, {reason.value}", reason=reason, ret_code=code, text=said)
    return _unclear(f"{where}{quoted}", kind, ret_code=code, text=said)


def _is_definite(code: int) -> bool:
    """Return whether the code is a business answer; an unlisted system code (below 30000) proves nothing."""
    return code in _REJECTIONS or (code not in _UNKNOWN and code >= 30_000)


def error_of_status(status: int, *, endpoint: str, kind: RequestKind) -> ExchangeError:
    """Return the error that an HTTP status other than 200 stands for."""
    where = f"{endpoint}: HTTP {status}"
    if status == HTTPStatus.FORBIDDEN:
        return IpBanned(
            f"{where}: too many requests of this address, or a country that Bybit does not serve; pause ten minutes",
            http_status=status,
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return CredentialError(
            f"{where}: the key is invalid or belongs to another environment; check the key and the endpoint",
            http_status=status,
        )
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return Rejected(
            f"{where}: no such path; check the endpoint",
            reason=RejectReason.BAD_ENDPOINT,
            http_status=status,
        )
    if status == HTTPStatus.BAD_REQUEST:
        return Rejected(
            f"{where}: the exchange could not read the request",
            reason=RejectReason.BAD_PARAMETER,
            http_status=status,
        )
    return _unclear(where, kind, http_status=status)


def error_of_network(error: BaseException, *, endpoint: str, kind: RequestKind) -> ExchangeError:
    """Return the error that a failure of the connection stands for.

    A connection that never came about is definite; anything later leaves open whether the request arrived.
    """
    name = type(error).__name__
    if _was_never_connected(error):
        return NotSent(f"{endpoint}: no connection to the exchange ({name}); check the endpoint and the network")
    return _unclear(f"{endpoint}: the connection failed ({name})", kind)


def error_of_garbage(problem: str, *, endpoint: str, kind: RequestKind) -> ExchangeError:
    """Return the error that an answer without a readable envelope stands for."""
    return _unclear(f"{endpoint}: the answer is not as documented ({problem})", kind, http_status=200)


def _unclear(
    what: str,
    kind: RequestKind,
    *,
    ret_code: int | None = None,
    http_status: int | None = None,
    text: str = "",
) -> ExchangeError:
    if kind is RequestKind.QUERY:
        return Unavailable(f"{what}; ask again later", ret_code=ret_code, http_status=http_status, text=text)
    return UnknownOutcome(
        f"{what}; it may have taken effect: look it up before sending again",
        ret_code=ret_code,
        http_status=http_status,
        text=text,
    )


def _was_never_connected(error: BaseException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    return any(
        isinstance(cause, NewConnectionError | ConnectTimeoutError | ssl.SSLCertVerificationError)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it wraps: requests and urllib3 keep causes in `args` and `reason`."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
        waiting.extend(item for item in inner if isinstance(item, BaseException))


def _reset_at_ms(headers: Mapping[str, str]) -> int | None:
    text = headers.get(_RESET_HEADER, "")
    return int(text) if text.isdecimal() else None


def clean_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the exchange's words fit for a log: one line, short, without secrets.

    Its answer to a wrong signature quotes the signed text, which holds the key and the body: that part is cut.
    """
    said = re.sub(r"origin_string.*", "origin_string[...]", str(text), flags=re.DOTALL)
    for secret in secrets:
        if secret:
            said = said.replace(secret, "***")
    said = " ".join(said.split())
    return said if len(said) <= _LONGEST_TEXT else f"{said[:_LONGEST_TEXT]}..."
