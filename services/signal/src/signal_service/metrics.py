"""Metrics of signal."""

from prometheus_client import Counter, Gauge, Histogram

from breakwater_core.events import Leg
from breakwater_runtime.metrics import begin_at_zero

INTENTS = Counter("breakwater_signal_intents_total", "Intents published, by the leg that they decide.", ["leg"])
TRADES = Counter("breakwater_signal_trades_total", "Trades that the strategy has seen.")
TICK_TO_INTENT = Histogram(
    "breakwater_signal_tick_to_intent_seconds",
    "Live: venue time of the triggering trade until the bus has acknowledged the intent.",
    buckets=(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
DECISION_TIME = Histogram(
    "breakwater_signal_decision_seconds",
    "Market data taken from the bus until the bus has acknowledged the intent that it caused.",
    buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1, 5),
)
DISTANCE = Gauge(
    "breakwater_signal_distance_ratio", "Distance of the price to the nearest target, share of it.", ["symbol"]
)
TRADABLE = Gauge("breakwater_signal_tradable", "1 if the symbol may be entered today.", ["symbol"])
WINDOWS = Counter("breakwater_signal_windows_total", "Replay windows decided.")
LATEST_MARKET_TIME = Gauge("breakwater_signal_market_time_seconds", "Venue time of the newest clock, Unix seconds.")
INTENTS_WAITING = Gauge(
    "breakwater_signal_intents_waiting",
    "Intents of this run's accounts and symbols that no executor has finished: not taken, or in hand.",
)
INTENTS_POLLED = Gauge(
    "breakwater_signal_intents_polled_timestamp_seconds",
    "When the waiting intents were last counted, Unix seconds; 0: not yet. Their number is of that time.",
)
NEAR_TARGET = Gauge(
    "breakwater_signal_symbols_near_target",
    "Symbols that may be entered now and are within SIGNAL_NEAR_TARGET_RATIO of an entry.",
)
EXITS_DUE = Gauge(
    "breakwater_signal_exits_due",
    "Exits, one for each account and symbol, that are due or will be within SIGNAL_EXITS_DUE_WITHIN_S of venue time.",
)

begin_at_zero(INTENTS, (Leg.ENTRY, Leg.EXIT, Leg.STOP))
