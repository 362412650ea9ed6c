"""Ids derived from their cause: whoever computes one, and however often, gets the same id.

An intent id is readable text; an order link id is a hash of it that fits Bybit's rule (at most 36 characters of
letters, digits, `-` and `_`; Bybit v5 docs, "Place Order").
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import date

from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Leg, OrderStatus

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class IntentParts:
    """What an intent id is made of; see `intent_id`."""

    run_id: str
    account: str
    strategy_version: str
    symbol: str
    day: date
    leg: Leg
    attempt: int


def check_name(kind: str, value: str) -> str:
    """Return the name if it may stand in subjects and ids.

    Raises:
        InvalidInputError: If it is empty, longer than 64 characters or has other than letters, digits, `-`, `_`.
    """
    if not _NAME.fullmatch(value):
        raise InvalidInputError(f"{kind} must be 1 to 64 letters, digits, '-' or '_', was {value!r}")
    return value


def intent_id(
    *, run_id: str, account: str, strategy_version: str, symbol: str, day: date, leg: Leg, attempt: int
) -> str:
    """Return the id of a decision: `run/account/version/symbol/day/leg/attempt`.

    Raises:
        InvalidInputError: If a part is not a name, or the attempt is below 1.
    """
    if attempt < 1:
        raise InvalidInputError(f"attempt counts from 1, was {attempt}")
    parts = [
        check_name("run_id", run_id),
        check_name("account", account),
        check_name("strategy_version", strategy_version),
        check_name("symbol", symbol),
        day.isoformat(),
        leg.value,
        str(attempt),
    ]
    return "/".join(parts)


def parse_intent_id(intent: str) -> IntentParts:
    """Return the parts of an intent id: the inverse of `intent_id`.

    Raises:
        InvalidInputError: If the text is none that `intent_id` returns.
    """
    try:
        run_id, account, strategy_version, symbol, day, leg, attempt = intent.split("/")
        if not (_DAY.fullmatch(day) and _ATTEMPT.fullmatch(attempt)):
            raise ValueError("day or attempt")
        return IntentParts(
            run_id=check_name("run_id", run_id),
            account=check_name("account", account),
            strategy_version=check_name("strategy_version", strategy_version),
            symbol=check_name("symbol", symbol),
            day=date.fromisoformat(day),
            leg=Leg(leg),
            attempt=int(attempt),
        )
    except ValueError as error:
        raise InvalidInputError(
            f"not an intent id: {intent!r}; it must read run/account/version/symbol/day/leg/attempt"
        ) from error


def order_link_id(intent: str, child: int) -> str:
    """Return the client order id of the intent's order number `child` (from 0): 35 characters, `bw-` + 128 bits."""
    digest = hashlib.sha256(f"{intent}#{child}".encode()).hexdigest()
    return f"bw-{digest[:32]}"


def order_event_id(*, intent: str, child: int, status: OrderStatus, filled_quantity: str, closed: bool) -> str:
    """Return the id of an order's state: the same state gives the same id, so a repeat is recognised."""
    return f"{intent}#{child}/{status.value}/{filled_quantity}/{'closed' if closed else 'open'}"


def partition_of(account: str, symbol: str, partitions: int) -> int:
    """Return the intent partition of an account and symbol, in [0, partitions): stable over processes and versions."""
    digest = hashlib.sha256(f"{account}/{symbol}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % partitions


def replay_run_id(*, fingerprint: str, strategy_version: str, first_day: date, last_day: date) -> str:
    """Return the id of a replay: the same recording, range of days and configuration give the same id.

    Args:
        fingerprint: Hash of the recording's contents.
        strategy_version: Hash of the configuration, symbols filled in.
        first_day: First day that is played.
        last_day: Last day that is played.
    """
    text = f"{fingerprint}/{strategy_version}/{first_day.isoformat()}/{last_day.isoformat()}"
    return f"replay-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
