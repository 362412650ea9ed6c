"""The reporter's metrics; gauges of an account show what the latest message handled by this process said."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from breakwater_core.events import AccountSnapshot, DailyPerformance, DayParity

EQUITY = Gauge("breakwater_equity", "Equity as the exchange states it, quote currency.", ["account"])
WALLET = Gauge("breakwater_wallet_balance", "Wallet balance as the exchange states it, quote currency.", ["account"])
CUMULATIVE = Gauge("breakwater_cumulative", "Product of the daily growth factors; 1 at the start.", ["account"])
DRAWDOWN = Gauge("breakwater_drawdown", "Drawdown at the last day's end, a share in [0, 1].", ["account"])
MAX_DRAWDOWN = Gauge("breakwater_max_drawdown", "Largest drawdown so far, a share in [0, 1].", ["account"])
LEDGER_LAG = Gauge(
    "breakwater_ledger_lag_fills", "Executions that the account has counted and the database has not.", ["account"]
)
LEDGER_DIFFERENCE = Gauge(
    "breakwater_ledger_difference", "Exchange's wallet balance - ledger at the last day's opening.", ["account"]
)
FILLS = Counter("breakwater_fills_total", "Executions applied.", ["kind"])
ORDER_STATES = Counter("breakwater_order_states_total", "Orders and intents that entered a state.", ["status"])
SLIPPAGE = Histogram(
    "breakwater_target_slippage_bps",
    "How much worse than its target an order filled, basis points; negative is better.",
    ["leg"],
    buckets=(-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100, 250),
)
PARITY_COST = Gauge(
    "breakwater_parity_cost_bps",
    "What the last compared day cost more than its backtest, basis points of the day-open equity.",
    ["account"],
)
PARITY_DAYS = Counter("breakwater_parity_days_total", "Days compared with their backtests.", ["outcome"])
DAYS_CLOSED = Counter("breakwater_days_closed_total", "Days closed and announced.", ["account"])


def show_days(days: Iterable[DailyPerformance]) -> None:
    """Set the gauges to the latest of the closed days, oldest first."""
    for day in days:
        CUMULATIVE.labels(day.account).set(float(day.cumulative))
        DRAWDOWN.labels(day.account).set(float(day.drawdown))
        MAX_DRAWDOWN.labels(day.account).set(float(day.mdd))


def show_snapshot(snapshot: AccountSnapshot) -> None:
    """Set the gauges to an account's snapshot."""
    EQUITY.labels(snapshot.account).set(float(snapshot.equity))
    WALLET.labels(snapshot.account).set(float(snapshot.wallet_balance))


def show_parity(parity: DayParity) -> None:
    """Count a compared day and set the gauge to its cost."""
    if not parity.comparable:
        PARITY_DAYS.labels("not_comparable").inc()
        return
    PARITY_DAYS.labels("different" if parity.differences_total else "equal").inc()
    PARITY_COST.labels(parity.account).set(float(parity.total_bps))
