"""Metrics of the request budget, whichever service uses it."""

from prometheus_client import Counter, Gauge, Histogram

from breakwater_bybit.budget import Priority
from breakwater_runtime.metrics import begin_at_zero

GRANTS = Counter(
    "breakwater_budget_grants_total",
    "Requests that were let go, by priority and by whose share: shared, or the process's own while the bus is away.",
    ["priority", "share"],
)
WAIT = Histogram(
    "breakwater_budget_wait_seconds",
    "Time that a request waited for leave.",
    ["priority"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LEFT = Gauge(
    "breakwater_budget_left_requests",
    "Requests that an exit could still send: of the address, or of the account last seen at an endpoint.",
    ["window"],
)
WRITES = Counter(
    "breakwater_budget_writes_total", "Writes of the shared budget, by whether another process was faster.", ["outcome"]
)
LIMITED = Counter(
    "breakwater_budget_limited_total", "Requests that the exchange refused as too many (10006).", ["endpoint"]
)
BANS = Counter("breakwater_budget_bans_total", "Times that this process was told to stop by HTTP 403 or 10018.")
BANNED = Gauge(
    "breakwater_budget_banned_until_seconds", "Unix time until which the exchange refuses this address; 0: never did."
)
CONNECTED = Gauge(
    "breakwater_budget_shared",
    "1 while the budget is shared over the bus, 0 while the bus is away; NaN where it is not to be shared.",
)
CONNECTED.set(float("nan"))

begin_at_zero(GRANTS, Priority, ("shared", "own"))
begin_at_zero(WAIT, Priority)
begin_at_zero(WRITES, ("accepted", "conflict"))
