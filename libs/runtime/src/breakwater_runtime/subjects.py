"""Every subject, stream and key-value bucket of the bus; docs/messages.md lists them with their payloads."""

from dataclasses import dataclass

from breakwater_core.market import LIVE_RUN_ID

VENUE = "bybit"
INTENT_PARTITIONS = 32
"""Partitions of the intents: the largest number of symbols times accounts that can be in hand at once."""

GIBIBYTE = 1 << 30
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class StreamSpecification:
    """One JetStream stream.

    Attributes:
        name: Stream name; equals the first token of its subjects in capitals.
        subjects: What it stores.
        max_age_s: Messages older than this are dropped.
        max_bytes: The oldest messages are dropped beyond this size.
        survives_power_cut: True: a message is on disk before it is acknowledged (the server's `sync_interval: always`).
            False: the server may acknowledge first and write a little later.
    """

    name: str
    subjects: tuple[str, ...]
    max_age_s: float
    max_bytes: int
    survives_power_cut: bool


MARKET_STREAM = StreamSpecification("MD", ("md.>",), 3 * DAY_S, 2 * GIBIBYTE, survives_power_cut=False)
INTENT_STREAM = StreamSpecification("INTENT", ("intent.>",), 30 * DAY_S, GIBIBYTE // 4, survives_power_cut=True)
ORDER_STREAM = StreamSpecification("ORDER", ("order.>",), 90 * DAY_S, GIBIBYTE // 2, survives_power_cut=True)
FILL_STREAM = StreamSpecification("FILL", ("fill.>",), 90 * DAY_S, GIBIBYTE // 2, survives_power_cut=True)
ACCOUNT_STREAM = StreamSpecification("ACCOUNT", ("account.>",), 90 * DAY_S, GIBIBYTE // 4, survives_power_cut=True)
PERFORMANCE_STREAM = StreamSpecification(
    "PERFORMANCE", ("performance.>",), 365 * DAY_S, GIBIBYTE // 8, survives_power_cut=True
)
ALERT_STREAM = StreamSpecification("ALERT", ("alert.>",), 90 * DAY_S, GIBIBYTE // 8, survives_power_cut=True)
DEAD_STREAM = StreamSpecification("DEAD", ("dead.>",), 365 * DAY_S, GIBIBYTE // 8, survives_power_cut=True)

STREAMS = (
    MARKET_STREAM,
    INTENT_STREAM,
    ORDER_STREAM,
    FILL_STREAM,
    ACCOUNT_STREAM,
    PERFORMANCE_STREAM,
    ALERT_STREAM,
    DEAD_STREAM,
)

CHECKPOINT_BUCKET = "checkpoint"
"""`progress.<run>.<participant>`: last finished window; `signal.<run>.<instance>`: state of signal."""
INTENTS_BUCKET = "intents"
"""`<order link id of child 0>`: what was decided, sent and seen of one intent."""
ACCOUNT_BUCKET = "account"
"""`day_open.<run>.<account>.<day>`: equity at the day's open; `cursor.<run>.<account>`: how far fills were read."""
CONTROL_BUCKET = "control"
"""`state`: who may enter; `seen.<instance>.<process>`: what an executor has acknowledged; `flat...`: proofs."""
CONTROL_KEY = "state"
SEEN_PREFIX = "seen."
NOTIFIED_BUCKET = "notified"
"""`event.<hash>`: the message that tells of an event; `message.<id>`: how far that message got."""
BUDGET_BUCKET = "budget"
"""`<venue>.address`, `<venue>.<account>.<endpoint>`: requests granted in a window of the exchange."""
CONFIG_BUCKET = "config"
"""`version.<hash>`: a configuration; `schedule.<run>`, `day.<run>.<day>`, `seen.<run>.<instance>`: when each holds."""
BUCKETS = (
    CHECKPOINT_BUCKET,
    INTENTS_BUCKET,
    ACCOUNT_BUCKET,
    CONTROL_BUCKET,
    NOTIFIED_BUCKET,
    BUDGET_BUCKET,
    CONFIG_BUCKET,
)
BUCKET_MAX_AGE_S = {NOTIFIED_BUCKET: 7 * DAY_S, BUDGET_BUCKET: 3600.0}
"""Entries of these buckets are dropped after so many seconds; those of the others never are."""
FLEETING_BUCKETS = frozenset({BUDGET_BUCKET})
"""The server may acknowledge their entries before they are on disk: it takes longer to come back from a power cut than
they matter."""


def trades(symbol: str) -> str:
    """Subject of a symbol's trades."""
    return f"md.trades.{VENUE}.{symbol}"


def daily_bars(symbol: str) -> str:
    """Subject of a symbol's daily bars."""
    return f"md.bars.1d.{VENUE}.{symbol}"


def clock() -> str:
    """Subject of the run's clock."""
    return f"md.clock.{VENUE}"


def intent_queue(account: str, symbol: str) -> str:
    """Durable consumer of the intents of one account and symbol, shared by all executors."""
    return f"executor-{account}={symbol}"  # `=` stands in no name, so no two pairs share a consumer


def parity(account: str) -> str:
    """Subject of an account's comparisons with the backtest."""
    return f"performance.parity.{account}"


def progress_key(run_id: str, participant: str) -> str:
    """Key in the checkpoint bucket that tells how far a participant of the lock-step is."""
    return f"progress.{run_id}.{participant}"


def signal_state_key(run_id: str, instance: str) -> str:
    """Key in the checkpoint bucket that holds the state of one signal process."""
    return f"signal.{run_id}.{instance}"


def day_open_key(run_id: str, account: str, day: str) -> str:
    """Key in the account bucket that holds the equity at a day's open."""
    return f"day_open.{run_id}.{account}.{day}"


def places_key(run_id: str, account: str) -> str:
    """Key in the account bucket that tells which entries have taken a place among the open positions."""
    return f"places.{run_id}.{account}"


def cursor_key(run_id: str, account: str) -> str:
    """Key in the account bucket that tells how far the executions of an account were read."""
    return f"cursor.{run_id}.{account}"


def seen_key(instance: str, process: str) -> str:
    """Key in the control bucket under which an executor process acknowledges what it has seen."""
    return f"{SEEN_PREFIX}{instance}.{process}"


def flat_key(run_id: str, account: str, epoch: int) -> str:
    """Key in the control bucket that holds the proof that an account is flat; a replay has proofs of its own."""
    return f"flat.{account}.{epoch}" + ("" if run_id == LIVE_RUN_ID else f".{run_id}")


def flatten_lines_key(run_id: str, account: str, epoch: int) -> str:
    """Key in the control bucket that lists the positions which a flatten has found."""
    return f"flatten.{account}.{epoch}.{run_id}"


def closing_key(run_id: str, account: str, order_link_id: str) -> str:
    """Key in the account bucket that tells of an order which closes what nobody ordered."""
    return f"closing.{run_id}.{account}.{order_link_id}"


def told_key(run_id: str, account: str, digest: str) -> str:
    """Key in the account bucket that tells that an account's finding was reported."""
    return f"told.{run_id}.{account}.{digest}"


def config_version_key(version: str) -> str:
    """Key in the config bucket that holds a configuration, under its hash."""
    return f"version.{version}"


def config_schedule_key(run_id: str) -> str:
    """Key in the config bucket that tells which version holds from which day on."""
    return f"schedule.{run_id}"


def config_day_key(run_id: str, day: str) -> str:
    """Key in the config bucket that tells what a day that has begun runs under; `>` and `*` stand for any day."""
    return f"day.{run_id}.{day}"


def config_seen_key(run_id: str, instance: str) -> str:
    """Key in the config bucket under which a signal process states what it runs under."""
    return f"seen.{run_id}.{instance}"
