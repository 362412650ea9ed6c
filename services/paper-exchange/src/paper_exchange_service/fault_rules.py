"""Rules of what goes wrong: their kinds and fields, and whether a rule hits. Pure: the same seed, the same hits.

Times are milliseconds UTC of the exchange's clock, in a replay those of the requests' own stamps.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from breakwater_core.errors import InvalidInputError

_MOST_RULES = 100
_LONGEST_MS = 86_400_000


class Kind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    SERVER_ERROR_BEFORE = "server_error_before"
    SERVER_ERROR_AFTER = "server_error_after"
    SYSTEM_ERROR = "system_error"
    RATE_LIMITED = "rate_limited"
    ADDRESS_BAN = "address_ban"
    MAINTENANCE = "maintenance"
    REJECT_ORDER = "reject_order"
    SUSPEND_SYMBOL = "suspend_symbol"
    PARTIAL_FILL = "partial_fill"
    UNFILLED_IOC = "unfilled_ioc"
    PRIVATE_DROP = "private_drop"
    PUBLIC_DROP = "public_drop"
    DUPLICATE_PUSH = "duplicate_push"
    REORDER_PUSH = "reorder_push"
    DELAY_PUSH = "delay_push"
    CLOCK_SKEW = "clock_skew"


REQUEST_KINDS = frozenset(
    {
        Kind.LATENCY,
        Kind.LOST_BEFORE,
        Kind.LOST_AFTER,
        Kind.SERVER_ERROR_BEFORE,
        Kind.SERVER_ERROR_AFTER,
        Kind.SYSTEM_ERROR,
        Kind.RATE_LIMITED,
        Kind.ADDRESS_BAN,
        Kind.MAINTENANCE,
    }
)
"""Kinds that act on a request as a whole."""

FRAME_KINDS = frozenset({Kind.PRIVATE_DROP, Kind.DUPLICATE_PUSH, Kind.REORDER_PUSH, Kind.DELAY_PUSH})
"""Kinds that act on a frame of a private stream."""

_SCOPE = frozenset({"kind", "from_ms", "until_ms"})
_CHANCE = _SCOPE | {"probability", "limit"}
_REQUEST = _CHANCE | {"limit_per_request", "path", "account", "symbol", "order_link_id"}
_ORDER = _REQUEST - {"path"}
_FRAME = _ORDER | {"topic"}
_FIELDS: dict[Kind, frozenset[str]] = {
    Kind.LATENCY: _REQUEST | {"delay_ms"},
    Kind.LOST_BEFORE: _REQUEST,
    Kind.LOST_AFTER: _REQUEST,
    Kind.SERVER_ERROR_BEFORE: _REQUEST | {"status"},
    Kind.SERVER_ERROR_AFTER: _REQUEST | {"status"},
    Kind.SYSTEM_ERROR: _REQUEST | {"code"},
    Kind.RATE_LIMITED: _REQUEST | {"duration_ms"},
    Kind.ADDRESS_BAN: _REQUEST | {"duration_ms"},
    Kind.MAINTENANCE: _REQUEST | {"duration_ms", "code"},
    Kind.REJECT_ORDER: _ORDER | {"code", "asynchronous", "reason"},
    Kind.SUSPEND_SYMBOL: _ORDER | {"duration_ms", "code"},
    Kind.PARTIAL_FILL: _ORDER | {"share"},
    Kind.UNFILLED_IOC: _ORDER,
    Kind.PRIVATE_DROP: _FRAME,
    Kind.PUBLIC_DROP: _CHANCE | {"symbol", "topic"},
    Kind.DUPLICATE_PUSH: _FRAME,
    Kind.REORDER_PUSH: _FRAME | {"delay_ms"},
    Kind.DELAY_PUSH: _FRAME | {"delay_ms"},
    Kind.CLOCK_SKEW: _SCOPE | {"delay_ms"},
}
_REQUIRED: dict[Kind, str] = {
    Kind.LATENCY: "delay_ms",
    Kind.ADDRESS_BAN: "duration_ms",
    Kind.DELAY_PUSH: "delay_ms",
    Kind.CLOCK_SKEW: "delay_ms",
}
_LASTING = frozenset({Kind.MAINTENANCE, Kind.SUSPEND_SYMBOL})


class FaultRule(BaseModel):
    """One rule. Which fields a kind takes is checked by `parse_rules`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    """What goes wrong."""
    probability: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    """Share of the matching requests, orders or frames that are hit."""
    limit: int = Field(default=0, ge=0)
    """Most hits in all; 0: no limit."""
    limit_per_request: int = Field(default=0, ge=0)
    """Most hits of the same request when it is tried again; 0: no limit."""
    path: str = ""
    """Only requests whose path begins so, e.g. `/v5/order/create`."""
    account: str = ""
    """Only this account."""
    symbol: str = ""
    """Only this symbol."""
    order_link_id: str = ""
    """Only orders whose client id begins so."""
    topic: str = ""
    """Only frames whose topic begins so, e.g. `execution`."""
    delay_ms: int | None = Field(default=None, ge=-_LONGEST_MS, le=_LONGEST_MS)
    """Extra time, milliseconds; of `clock_skew` what the server's clock is ahead, below 0 behind."""
    duration_ms: int | None = Field(default=None, gt=0, le=_LONGEST_MS)
    """How long a state lasts, milliseconds."""
    from_ms: int | None = Field(default=None, ge=0)
    """First moment at which the rule holds; absent: since ever."""
    until_ms: int | None = Field(default=None, ge=0)
    """First moment at which the rule no longer holds; absent: never."""
    code: int | None = Field(default=None, gt=0)
    """Bybit's `retCode` of a refusal."""
    status: int | None = Field(default=None, ge=500, le=504)
    """HTTP status; absent: one of 500, 502, 503, 504 by the seed."""
    share: Decimal | None = Field(default=None, gt=0, lt=1)
    """Part of an order that fills; absent: between 0.1 and 0.9 by the seed."""
    asynchronous: bool = False
    """Of `reject_order`: acknowledge the order and reject it afterwards."""
    reason: str = Field(default="EC_Others", min_length=1)
    """`rejectReason` of an order that is rejected afterwards."""

    def holds_at(self, time_ms: int) -> bool:
        """Whether the moment lies in the rule's time."""
        return (self.from_ms is None or time_ms >= self.from_ms) and (self.until_ms is None or time_ms < self.until_ms)


class FaultRules(BaseModel):
    """What goes wrong, and the seed that decides when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """Another seed hits other requests."""
    rules: tuple[FaultRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Asked in this order."""


NO_RULES = FaultRules()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule is asked about: a request, an order or a frame.

    Attributes:
        identity: Names it in the same way in every run.
        time_ms: When it happens, on the exchange's clock.
        path: Path of a request; empty for orders and frames.
        topic: Topic of a frame.
        symbols: Symbols it speaks of.
        order_link_ids: Client ids of the orders it speaks of.
    """

    identity: str
    time_ms: int
    path: str = ""
    account: str = ""
    topic: str = ""
    symbols: tuple[str, ...] = ()
    order_link_ids: tuple[str, ...] = ()


def matches(rule: FaultRule, subject: Subject) -> bool:
    """Whether the rule speaks of the subject at all."""
    return (
        rule.holds_at(subject.time_ms)
        and subject.path.startswith(rule.path)
        and rule.account in {"", subject.account}
        and subject.topic.startswith(rule.topic)
        and (not rule.symbol or rule.symbol in subject.symbols)
        and (not rule.order_link_id or any(name.startswith(rule.order_link_id) for name in subject.order_link_ids))
    )


def draw(seed: int, number: int, identity: str, attempt: int, purpose: str = "hit") -> float:
    """Return a number in [0, 1) that depends on the arguments alone.

    Args:
        seed: Of the rules.
        number: Place of the rule, from 0.
        identity: Of the request, order or frame.
        attempt: How often it was seen, from 1.
        purpose: Keeps several draws for one hit apart.
    """
    text = f"{seed}/{number}/{identity}/{attempt}/{purpose}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64


def parse_rules(text: str | bytes, now_ms: int) -> FaultRules:
    """Return the rules that a JSON text describes.

    Args:
        text: `{"seed": 7, "rules": [{"kind": "latency", "delay_ms": 200}]}`.
        now_ms: The exchange's clock: where a state begins that has a duration but no beginning; 0: it has none yet.

    Raises:
        InvalidInputError: If it is no such JSON; the message is one line and names the field.
    """
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f'faults: no JSON ({error}); send {{"seed": 1, "rules": []}}') from error
    try:
        rules = FaultRules.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInputError(f"{_place(first['loc'])}: {first['msg']}") from error
    return FaultRules(
        seed=rules.seed,
        rules=tuple(_checked(number, rule, now_ms) for number, rule in enumerate(rules.rules)),
    )


def _checked(number: int, rule: FaultRule, now_ms: int) -> FaultRule:
    place, kind = f"rules[{number}]", rule.kind
    for name in sorted(rule.model_fields_set - _FIELDS[kind]):
        known = ", ".join(sorted(_FIELDS[kind] - {"kind"}))
        raise InvalidInputError(f"{place}.{name}: {kind} does not take it; it takes {known}")
    needed = _REQUIRED.get(kind)
    if needed is not None and getattr(rule, needed) is None:
        raise InvalidInputError(f"{place}.{needed}: {kind} needs it")
    if rule.delay_ms is not None and (rule.delay_ms == 0 or (rule.delay_ms < 0 and kind is not Kind.CLOCK_SKEW)):
        raise InvalidInputError(f"{place}.delay_ms: must be above 0, was {rule.delay_ms}")
    if rule.asynchronous and rule.code is not None:
        raise InvalidInputError(f"{place}.code: an order that is rejected afterwards has a reason and no code")
    if kind is Kind.SYSTEM_ERROR and rule.code not in {None, 10000, 10016}:
        raise InvalidInputError(f"{place}.code: must be 10000 or 10016, was {rule.code}")
    if rule.from_ms is not None and rule.until_ms is not None and rule.until_ms <= rule.from_ms:
        raise InvalidInputError(f"{place}.until_ms: must be after from_ms")
    return _dated(place, rule, now_ms)


def _dated(place: str, rule: FaultRule, now_ms: int) -> FaultRule:
    """Return a rule of a state with the end that its duration gives it."""
    if rule.kind not in _LASTING or rule.duration_ms is None:
        return rule
    if rule.until_ms is not None:
        raise InvalidInputError(f"{place}.until_ms: give it or duration_ms, not both")
    start_ms = now_ms if rule.from_ms is None else rule.from_ms
    if rule.from_ms is None and now_ms <= 0:
        raise InvalidInputError(f"{place}.from_ms: is needed with duration_ms before the replay's clock has started")
    return rule.model_copy(update={"from_ms": start_ms, "until_ms": start_ms + rule.duration_ms})


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text or "faults"
