"""What happens in a run: everything that is decided beforehand, drawn from a seed."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any


class Deed(StrEnum):
    """What is done to a process."""

    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Action:
    """One deed.

    Attributes:
        share: Done once this share of the replayed time has passed, in [0, 1).
        deed: KILL: SIGKILL. PAUSE: SIGSTOP, later SIGCONT. RESTART: SIGTERM. AWAY: the database stopped, or Slack
            answering 503, for a while. Whatever has ended is started again.
        target: Name of the process.
        seconds: Length of a pause or absence.
    """

    share: float
    deed: Deed
    target: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """One run.

    Attributes:
        seed: What all the rest is drawn from.
        recording: Number of the synthetic recording.
        filter: Filter of the strategy.
        stop_loss: Stop of the strategy, or None.
        executors: Executors of the order role.
        signals: Signal processes, all hot.
        database: `sqlite` or `postgres`.
        is_neutral: The exchange's faults change neither prices nor liquidity, so the report must be the backtest's.
        actions: What is done to processes, in order.
        faults: Rules of the paper exchange.
    """

    seed: int
    recording: int
    filter: str
    stop_loss: float | None
    executors: int
    signals: int
    database: str
    is_neutral: bool
    actions: tuple[Action, ...]
    faults: tuple[dict[str, Any], ...]


RECORDINGS = 4
NEUTRAL: tuple[dict[str, Any], ...] = (
    {"kind": "latency", "probability": 0.05, "delay_ms": 150},
    {"kind": "lost_before", "path": "/v5/order/create", "probability": 0.08},
    {"kind": "lost_after", "path": "/v5/order/create", "probability": 0.15},
    {"kind": "server_error_before", "probability": 0.03},
    {"kind": "server_error_after", "path": "/v5/order/create", "probability": 0.1},
    {"kind": "system_error", "probability": 0.03},
    {"kind": "rate_limited", "probability": 0.04},
    {"kind": "address_ban", "path": "/v5/order", "probability": 0.02, "limit": 1, "duration_ms": 300},
    {"kind": "lost_before", "path": "/v5/", "probability": 0.02},
    {"kind": "private_drop", "probability": 0.05},
    {"kind": "duplicate_push", "probability": 0.1},
    {"kind": "reorder_push", "probability": 0.1},
    {"kind": "delay_push", "probability": 0.1, "delay_ms": 300},
)
CHANGING: tuple[dict[str, Any], ...] = (
    {"kind": "partial_fill", "probability": 0.25},
    {"kind": "unfilled_ioc", "probability": 0.15},
    {"kind": "reject_order", "probability": 0.15, "code": 110007},
    {"kind": "reject_order", "probability": 0.1, "asynchronous": True},
    {"kind": "suspend_symbol", "probability": 0.2, "limit": 2},
)
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_FIRST_MS = 1_704_067_200_000
"""2024-01-01T00:00Z, when the recordings begin."""


def plan_of(seed: int, *, postgres: bool) -> ChaosPlan:
    """Return the plan of a seed.

    Args:
        seed: Any number from 0.
        postgres: Whether this machine can run Postgres; without it every run uses SQLite.
    """
    draw = Random(seed)
    executors = draw.randint(2, 4)
    signals = draw.randint(1, 2)
    database = "postgres" if draw.random() < 0.4 else "sqlite"
    is_neutral = seed % 4 != 3
    targets = _targets(executors, signals)
    if database == "postgres":
        targets.append("postgres")
    count = draw.randint(6, 12)
    shares = sorted(draw.uniform(0.02, 0.97) for _ in range(count))
    actions = tuple(_action(draw, share, draw.choice(targets)) for share in shares)
    faults = [dict(rule) for rule in draw.sample(NEUTRAL, k=draw.randint(4, 7))]
    if not is_neutral:
        faults += [_timed(draw, rule) for rule in draw.sample(CHANGING, k=draw.randint(1, 2))]
    suspends = any(rule["kind"] == "suspend_symbol" for rule in faults)
    stop_loss = draw.choice((None, None, 0.01))
    return ChaosPlan(
        seed=seed,
        recording=draw.randrange(RECORDINGS),
        filter=draw.choice(("trend", "contrarian", "none")),
        stop_loss=None if suspends else stop_loss,  # in event time, what must close now would wait for ever
        executors=executors,
        signals=signals,
        database=database if postgres else "sqlite",
        is_neutral=is_neutral,
        actions=actions if postgres else tuple(action for action in actions if action.target != "postgres"),
        faults=tuple(faults),
    )


def _timed(draw: Random, rule: dict[str, Any]) -> dict[str, Any]:
    """Return the rule, a suspension with a time: some hours in the middle of a day."""
    if rule["kind"] != "suspend_symbol":
        return dict(rule)
    from_ms = _FIRST_MS + draw.randrange(1, 5) * _DAY_MS + draw.randrange(1, 12) * _HOUR_MS
    return rule | {"from_ms": from_ms, "until_ms": from_ms + 6 * _HOUR_MS}


def _targets(executors: int, signals: int) -> list[str]:
    names = ["market-data", "executor-account", "reporter", "notifier", "nats", "slack"]
    names += ["signal" if number == 1 else f"signal-{number}" for number in range(1, signals + 1)]
    return names + 2 * [f"executor-{number}" for number in range(1, executors + 1)]


def _action(draw: Random, share: float, target: str) -> Action:
    if target == "slack":
        return Action(share, Deed.AWAY, target, round(draw.uniform(0.3, 2.0), 2))
    if target == "postgres":
        deed = draw.choice((Deed.KILL, Deed.AWAY))
        return Action(share, deed, target, round(draw.uniform(0.3, 2.0), 2))
    deed = draw.choices((Deed.KILL, Deed.PAUSE, Deed.RESTART), weights=(6, 3, 1))[0]
    return Action(share, deed, target, round(draw.uniform(0.2, 2.5), 2) if deed is Deed.PAUSE else 0.0)
