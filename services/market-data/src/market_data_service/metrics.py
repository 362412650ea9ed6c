"""Metrics of market-data."""

from prometheus_client import Counter, Gauge, Histogram

from breakwater_runtime.metrics import begin_at_zero

TRADES = Counter("breakwater_market_data_trades_total", "Trades published.", ["symbol"])
REPLAY_WINDOW = Gauge("breakwater_market_data_replay_window", "Last replay window whose clock was published.")
REPLAY_WAIT = Histogram(
    "breakwater_market_data_lockstep_wait_seconds",
    "Time that a replay waited for a participant.",
    ["participant"],
    buckets=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
GAPS = Counter("breakwater_market_data_gaps_total", "Interruptions of the feed, by what became of them.", ["outcome"])
DROPPED = Counter(
    "breakwater_market_data_trades_dropped_total",
    "Trades not published: duplicate (came twice), late (older than the newest published), block (off the book).",
    ["reason"],
)
OUTSTANDING = Gauge("breakwater_market_data_outstanding_messages", "Messages that the bus has not acknowledged yet.")
STALENESS = Gauge("breakwater_market_data_staleness_seconds", "Time since a symbol's last frame.", ["symbol"])
TICK_LAG = Histogram(
    "breakwater_market_data_tick_lag_seconds",
    "Time from a trade, as the exchange stamps it, to its arrival here.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
PUBLISH_LAG = Histogram(
    "breakwater_market_data_publish_lag_seconds",
    "Time from the arrival of a frame to the acknowledgement of its trades by the bus.",
    buckets=(0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.25, 1, 5),
)
CLOCK_OFFSET = Gauge(
    "breakwater_market_data_clock_offset_seconds", "Exchange time minus this machine's time, as last measured."
)
RECONNECTS = Counter("breakwater_market_data_reconnects_total", "Connections to the public stream after the first.")
BAR_MISMATCHES = Counter(
    "breakwater_market_data_bar_mismatches_total",
    "Complete days whose trades, as received, disagree with the exchange's candle.",
    ["symbol"],
)

begin_at_zero(GAPS, ("filled", "nothing_missing", "unfilled"))
begin_at_zero(DROPPED, ("block", "duplicate", "late"))
