"""The reporter's metrics; gauges of an account show what the latest message handled by this process said."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from prometheus_client import Counter, Gauge, Histogram

from breakwater_core.alert_names import ALERT_SEVERITIES
from breakwater_core.events import AccountSnapshot, Alert, DailyPerformance, DayParity, FillKind, Leg, OrderStatus
from breakwater_runtime.metrics import begin_at_zero

OTHER_ALERT = "other"
"""Under which alerts are counted that no service of this version publishes."""

EQUITY = Gauge("breakwater_equity", "Equity as the exchange states it, quote currency.", ["account"])
WALLET = Gauge("breakwater_wallet_balance", "Wallet balance as the exchange states it, quote currency.", ["account"])
DAY_OPEN_EQUITY = Gauge(
    "breakwater_day_open_equity", "Equity at the running day's opening, quote currency.", ["account"]
)
POSITION_SIZE = Gauge(
    "breakwater_position_size", "Open position, base units, negative is short.", ["account", "symbol"]
)
POSITION_VALUE = Gauge(
    "breakwater_position_value",
    "Open position at its mark price, quote currency, negative is short.",
    ["account", "symbol"],
)
UNREALISED = Gauge(
    "breakwater_unrealised_pnl", "Result of open positions at mark prices, quote currency.", ["account", "symbol"]
)
FEES_PAID = Gauge(
    "breakwater_fees_paid", "Trading fees of the run so far, quote currency, positive is paid.", ["account"]
)
FUNDING_PAID = Gauge(
    "breakwater_funding_paid", "Funding of the run so far, quote currency, positive is paid.", ["account"]
)
DAILY_RETURN = Gauge("breakwater_daily_return", "Return of the last closed day, 0.01 is 1 %.", ["account"])
CUMULATIVE = Gauge("breakwater_cumulative", "Product of the daily growth factors; 1 at the start.", ["account"])
DRAWDOWN = Gauge("breakwater_drawdown", "Drawdown at the last day's end, a share in [0, 1].", ["account"])
MAX_DRAWDOWN = Gauge("breakwater_max_drawdown", "Largest drawdown so far, a share in [0, 1].", ["account"])
LEDGER_LAG = Gauge(
    "breakwater_ledger_lag_fills", "Executions that the account has counted and the database has not.", ["account"]
)
LEDGER_DIFFERENCE = Gauge(
    "breakwater_ledger_difference", "Exchange's wallet balance - ledger at the last day's opening.", ["account"]
)
FILLS = Counter("breakwater_fills_total", "Executions applied.", ["account", "kind"])
ORDER_STATES = Counter(
    "breakwater_order_states_total", "Orders and intents that entered a state.", ["account", "status"]
)
SLIPPAGE = Histogram(
    "breakwater_target_slippage_bps",
    "How much worse than its target an order filled, basis points; negative is better.",
    ["account", "leg"],
    buckets=(-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100, 250),
)
SLIPPAGE_SUM = Counter(
    "breakwater_slippage_bps_total",
    "Sum of the slippage of orders that filled worse, or better, than their targets, basis points: a histogram with "
    "buckets below zero has no sum.",
    ["account", "leg", "direction"],
)
PARITY_COST = Gauge(
    "breakwater_parity_cost_bps",
    "What the last compared day cost more than its backtest, basis points of the day-open equity.",
    ["account"],
)
PARITY_DAYS = Counter("breakwater_parity_days_total", "Days compared with their backtests.", ["outcome"])
DAYS_CLOSED = Counter("breakwater_days_closed_total", "Days closed and announced.", ["account"])
ALERTS = Counter("breakwater_alerts_total", "Alerts that services have published.", ["name", "severity"])
COMMIT_TIME = Histogram(
    "breakwater_reporter_commit_seconds",
    "Time of one transaction, with the work in it.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
COMMIT_SIZE = Histogram(
    "breakwater_reporter_commit_messages",
    "Messages applied in one transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)

BUS_STREAM_BYTES = Gauge("breakwater_bus_stream_bytes", "Size of a stream in the bus's store, bytes.", ["stream"])
BUS_STREAM_LIMIT = Gauge(
    "breakwater_bus_stream_limit_bytes",
    "Size at which a stream drops its oldest messages, bytes; absent: it has no limit.",
    ["stream"],
)
BUS_STREAM_MESSAGES = Gauge("breakwater_bus_stream_messages", "Messages that a stream holds.", ["stream"])
BUS_BUCKET_BYTES = Gauge("breakwater_bus_bucket_bytes", "Size of a key-value bucket, bytes.", ["bucket"])
BUS_BUCKET_LIMIT = Gauge(
    "breakwater_bus_bucket_limit_bytes",
    "Size at which a bucket takes no more writes, bytes; absent: it has no limit.",
    ["bucket"],
)
BUS_BUCKET_KEYS = Gauge("breakwater_bus_bucket_keys", "Keys that a bucket holds.", ["bucket"])
BUS_PENDING = Gauge(
    "breakwater_bus_consumer_pending", "Messages that a consumer has still to be given.", ["stream", "consumer"]
)
BUS_ACK_PENDING = Gauge(
    "breakwater_bus_consumer_ack_pending",
    "Messages that were given to a consumer and are not acknowledged yet.",
    ["stream", "consumer"],
)
BUS_REDELIVERED = Gauge(
    "breakwater_bus_consumer_redelivered",
    "Unacknowledged messages that were given to a consumer more than once.",
    ["stream", "consumer"],
)
BUS_STORE_BYTES = Gauge("breakwater_bus_store_bytes", "Bytes of the bus's file store that the account uses.")
BUS_STORE_LIMIT = Gauge(
    "breakwater_bus_store_limit_bytes", "Bytes of the file store that the account may use; NaN: not limited."
)
BUS_STORE_LIMIT.set(float("nan"))
BUS_POLLS = Counter("breakwater_bus_polls_total", "Readings of the bus's state by this reporter.", ["outcome"])

begin_at_zero(PARITY_DAYS, ("equal", "different", "not_comparable"))
begin_at_zero(BUS_POLLS, ("read", "failed"))
for _name, _severity in ALERT_SEVERITIES.items():
    ALERTS.labels(_name, _severity.value)


def begin_accounts(accounts: Sequence[str]) -> None:
    """Show the counters of these accounts before anything is counted."""
    begin_at_zero(FILLS, accounts, FillKind)
    begin_at_zero(ORDER_STATES, accounts, OrderStatus)
    begin_at_zero(SLIPPAGE, accounts, Leg)
    begin_at_zero(SLIPPAGE_SUM, accounts, Leg, ("worse", "better"))
    begin_at_zero(DAYS_CLOSED, accounts)
    begin_at_zero(LEDGER_LAG, accounts)
    begin_at_zero(LEDGER_DIFFERENCE, accounts)
    begin_at_zero(FEES_PAID, accounts)
    begin_at_zero(FUNDING_PAID, accounts)


def count_alert(alert: Alert) -> None:
    """Count an alert; a name that is not known here is counted as `other`."""
    name = alert.name if alert.name in ALERT_SEVERITIES else OTHER_ALERT
    ALERTS.labels(name, alert.severity.value).inc()


def observe_slippage(account: str, leg: Leg, slippage_bps: Decimal) -> None:
    """Take in how much worse than its target an order filled, basis points; negative is better."""
    value = float(slippage_bps)
    SLIPPAGE.labels(account, leg.value).observe(value)
    SLIPPAGE_SUM.labels(account, leg.value, "worse" if value > 0 else "better").inc(abs(value))


def show_days(days: Iterable[DailyPerformance]) -> None:
    """Set the gauges to the latest of the closed days, oldest first."""
    for day in days:
        DAILY_RETURN.labels(day.account).set(float(day.ror - 1))
        CUMULATIVE.labels(day.account).set(float(day.cumulative))
        DRAWDOWN.labels(day.account).set(float(day.drawdown))
        MAX_DRAWDOWN.labels(day.account).set(float(day.mdd))


class AccountGauges:
    """What the accounts hold; a symbol that was held once is shown at zero from then on."""

    def __init__(self, accounts: Iterable[str], symbols: Iterable[str]) -> None:
        """Show each of these accounts flat in these symbols, and as it was before its first day."""
        self._symbols: dict[str, set[str]] = {}
        known = tuple(symbols)
        for account in accounts:
            self._symbols[account] = set(known)
            CUMULATIVE.labels(account).set(1)
            for gauge in (DAILY_RETURN, DRAWDOWN, MAX_DRAWDOWN):
                gauge.labels(account).set(0)
            for symbol in known:
                self._show_position(account, symbol)

    def show(self, snapshot: AccountSnapshot) -> None:
        """Set the gauges to an account's snapshot."""
        account = snapshot.account
        EQUITY.labels(account).set(float(snapshot.equity))
        WALLET.labels(account).set(float(snapshot.wallet_balance))
        held = {position.symbol: position for position in snapshot.positions}
        symbols = self._symbols.setdefault(account, set())
        symbols.update(held)
        for symbol in symbols:
            position = held.get(symbol)
            if position is None:
                self._show_position(account, symbol)
            else:
                self._show_position(
                    account,
                    symbol,
                    size=position.size,
                    value=position.size * position.mark_price,
                    unrealised=position.unrealised_pnl,
                )

    def _show_position(
        self,
        account: str,
        symbol: str,
        *,
        size: Decimal = Decimal(0),
        value: Decimal = Decimal(0),
        unrealised: Decimal = Decimal(0),
    ) -> None:
        POSITION_SIZE.labels(account, symbol).set(float(size))
        POSITION_VALUE.labels(account, symbol).set(float(value))
        UNREALISED.labels(account, symbol).set(float(unrealised))


def show_parity(parity: DayParity) -> None:
    """Count a compared day and set the gauge to its cost."""
    if not parity.comparable:
        PARITY_DAYS.labels("not_comparable").inc()
        return
    PARITY_DAYS.labels("different" if parity.differences_total else "equal").inc()
    PARITY_COST.labels(parity.account).set(float(parity.total_bps))
