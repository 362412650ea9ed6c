"""Metrics of the executor."""

from prometheus_client import Counter, Gauge, Histogram

from breakwater_core.events import Leg, OrderStatus
from breakwater_runtime.metrics import begin_at_zero

REFUSAL_RULES = (
    "account_unreadable",
    "already_decided",
    "below_min_notional",
    "below_min_quantity",
    "daily_loss_stop",
    "drawdown_stop",
    "egress_mismatch",
    "egress_unknown",
    "fenced",
    "halted",
    "max_open_positions",
    "max_order_notional",
    "no_day_open",
    "no_equity",
    "preflight_failed",
    "stale_data",
    "unknown_instrument",
)
"""Why an entry is refused here; one whose time ran out is no refusal, its status is `expired`."""

_FAST_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

INTENT_TO_REQUEST = Histogram(
    "breakwater_executor_intent_to_request_seconds",
    "Time from taking an intent to sending its first order.",
    ["leg"],
    buckets=_FAST_S,
)
REQUEST_TO_ACK = Histogram(
    "breakwater_executor_request_to_ack_seconds",
    "Time from sending an order to the exchange's answer, by kind of answer.",
    ["answer"],
    buckets=_FAST_S,
)
ORDERS = Counter("breakwater_executor_orders_total", "Order events published, by status.", ["status", "leg"])
UNKNOWN = Gauge("breakwater_executor_unknown_orders", "Orders of which nobody knows whether they exist.")
REFUSED = Counter("breakwater_executor_refused_total", "Entries that a rule of ours refused.", ["rule"])
REJECTED = Counter("breakwater_executor_rejected_total", "Orders that the exchange refused, by its code.", ["code"])
UNKNOWN_OVERDUE = Gauge(
    "breakwater_executor_unknown_orders_overdue", "Unknown orders that have been so for longer than they should."
)
RESENT = Counter("breakwater_executor_resent_total", "Orders sent again under the same id.")
TIME_TO_FLAT = Histogram(
    "breakwater_executor_time_to_flat_seconds",
    "Time from taking an exit to the exchange reporting the position flat.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
NOT_FLAT = Gauge("breakwater_executor_positions_not_flat", "Exits past their deadline with a position still open.")
FLATTEN_OVERDUE = Gauge(
    "breakwater_executor_flattens_overdue", "Accounts ordered to be flat that are not so, past the deadline."
)
BUS_DOWN = Gauge(
    "breakwater_executor_bus_down_seconds", "For how long the bus has been away, seconds; 0 while it is there."
)
INTENTS_IN_HAND = Gauge("breakwater_executor_intents_in_hand", "Intents being worked on.")
QUERY_FAILURES = Counter("breakwater_executor_query_failures_total", "Queries that got no usable answer.", ["kind"])

FILLS = Counter("breakwater_executor_fills_published_total", "Executions published.", ["account", "source"])
CATCH_UPS = Counter(
    "breakwater_executor_catch_ups_total", "Times that executions were read over REST.", ["account", "outcome"]
)
PRIVATE_STREAM = Gauge("breakwater_executor_private_stream_connected", "1 while the private stream is up.", ["account"])
PRIVATE_STREAM_DROPS = Counter(
    "breakwater_executor_private_stream_drops_total", "Times that the private stream was lost.", ["account"]
)
FRAMES = Counter("breakwater_executor_private_frames_total", "Frames of the private stream.", ["account", "topic"])
EQUITY = Gauge("breakwater_executor_equity", "Equity as the exchange states it, quote currency.", ["account"])
DAY_OPENS = Counter("breakwater_executor_day_opens_total", "Days opened with a snapshot.", ["account"])

RECONCILIATIONS = Counter(
    "breakwater_executor_reconciliations_total", "Comparisons of an account with its books.", ["account", "outcome"]
)
POSITION_DIFFERENCES = Gauge(
    "breakwater_executor_position_differences", "Positions that are not the sum of their fills.", ["account"]
)
WALLET_DIFFERENCE = Gauge(
    "breakwater_executor_wallet_difference", "Wallet less the sum of what moved it, quote currency.", ["account"]
)
UNORDERED_POSITIONS = Gauge(
    "breakwater_executor_unordered_positions", "Positions with a part that no intent ordered.", ["account"]
)
UNORDERED_ORDERS = Counter(
    "breakwater_executor_unordered_closings_total",
    "Orders sent to close what nobody ordered, by kind of answer.",
    ["account", "answer"],
)
PREFLIGHT_FAILURES = Gauge(
    "breakwater_executor_preflight_failures", "Checks that keep an account from entering.", ["account"]
)

EGRESS_MATCHED = Gauge(
    "breakwater_egress_matched",
    "1 while requests leave from an expected address, 0 while nothing is entered.",
    ["account"],
)
EGRESS_CHECKS = Counter(
    "breakwater_egress_checks_total", "Comparisons of the egress address, by outcome.", ["account", "outcome"]
)
EGRESS_KNOWN = Gauge(
    "breakwater_egress_last_known_timestamp_seconds", "When the egress address was last known, Unix time.", ["account"]
)
KEY_ROTATIONS = Counter(
    "breakwater_executor_key_rotations_total",
    "New keys of an account, by what became of them: used, refused.",
    ["account", "outcome"],
)

begin_at_zero(ORDERS, OrderStatus, Leg)
begin_at_zero(REFUSED, REFUSAL_RULES)
begin_at_zero(INTENT_TO_REQUEST, Leg)
begin_at_zero(REQUEST_TO_ACK, ("acknowledged", "rejected", "not_placed", "unclear"))
begin_at_zero(QUERY_FAILURES, ("entry", "order", "position"))


def begin_account(account: str) -> None:
    """Show the account role's counters of an account before anything is counted."""
    begin_at_zero(FILLS, [account], ("stream", "rest"))
    begin_at_zero(CATCH_UPS, [account], ("found", "nothing_new", "failed"))
    begin_at_zero(RECONCILIATIONS, [account], ("equal", "different", "unsettled", "failed"))
    begin_at_zero(UNORDERED_ORDERS, [account], ("Acknowledged", "Rejected", "NotPlaced", "Unclear"))
    PRIVATE_STREAM.labels(account).set(0)
    PRIVATE_STREAM_DROPS.labels(account)
    DAY_OPENS.labels(account)
