"""The tables: every row belongs to a run, and every key begins with it.

Rows are facts merged so that neither the order nor the repetition of messages shows in them: executions are sums,
orders and intents keep their furthest state, snapshots the one that counts. Times are milliseconds since
1970-01-01T00:00Z; venue time, except where a column says wall clock.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from reporter_service.column_types import EXACT_TEXT, ExactDecimal


class Table(DeclarativeBase):
    """Base of all tables; Python types stand for the columns that hold them exactly."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a class attribute
        str: EXACT_TEXT,
        int: BigInteger(),
        Decimal: ExactDecimal(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
    }


class RunRow(Table):
    """One run: live, or a replay."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    strategy_version: Mapped[str]
    config: Mapped[dict[str, Any]]
    """The strategy's configuration as plain values."""
    started_at_ms: Mapped[int]
    """Wall clock: the first start of a reporter for this run."""
    ended_at_ms: Mapped[int | None]
    """Wall clock: when the end of the recording was learnt; none while the run goes on."""
    day: Mapped[date | None]
    """Latest day that opened."""
    now_ms: Mapped[int]
    """Latest venue time of a clock message that opened a day or ended the run."""
    trades_total: Mapped[int]
    """Trades of the market that the run has seen."""


class DayConfigRow(Table):
    """The configuration that a day ran under."""

    __tablename__ = "day_configs"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    strategy_version: Mapped[str]
    config: Mapped[dict[str, Any]]
    """As plain values."""


class IntentRow(Table):
    """One decision and how it ended."""

    __tablename__ = "intents"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    intent_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    symbol: Mapped[str]
    day: Mapped[date]
    strategy_version: Mapped[str]
    leg: Mapped[str]
    side: Mapped[str]
    reduce_only: Mapped[bool]
    target_price: Mapped[Decimal]
    trigger_price: Mapped[Decimal]
    trigger_time_ms: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str]
    detail: Mapped[str]
    child: Mapped[int]
    """Number of the order that `status` is of."""
    closed: Mapped[bool]
    """Whether `status` is the final outcome."""
    event_id: Mapped[str]
    event_time_ms: Mapped[int]

    __table_args__ = (
        Index("intents_by_status", "run_id", "status"),
        Index("intents_by_day", "run_id", "day", "account", "symbol"),
    )


class OrderRow(Table):
    """One order at the exchange, in its furthest known state."""

    __tablename__ = "orders"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    order_link_id: Mapped[str] = mapped_column(primary_key=True)
    intent_id: Mapped[str]
    account: Mapped[str]
    symbol: Mapped[str]
    day: Mapped[date]
    strategy_version: Mapped[str]
    child: Mapped[int]
    leg: Mapped[str]
    side: Mapped[str]
    reduce_only: Mapped[bool]
    status: Mapped[str]
    quantity: Mapped[Decimal]
    filled_quantity: Mapped[Decimal]
    average_price: Mapped[Decimal | None]
    target_price: Mapped[Decimal]
    trigger_price: Mapped[Decimal]
    trigger_time_ms: Mapped[int]
    slippage_bps: Mapped[Decimal | None]
    """How much worse than the target it filled, basis points."""
    reason: Mapped[str]
    detail: Mapped[str]
    intent_closed: Mapped[bool]
    event_id: Mapped[str]
    """Event that `status` was taken from."""
    event_time_ms: Mapped[int]

    __table_args__ = (
        Index("orders_by_intent", "run_id", "intent_id"),
        Index("orders_by_time", "run_id", "trigger_time_ms", "order_link_id"),
        Index("orders_by_day", "run_id", "day", "account", "symbol"),
    )


class FillRow(Table):
    """One execution; applied once."""

    __tablename__ = "fills"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    exec_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    symbol: Mapped[str]
    order_id: Mapped[str]
    order_link_id: Mapped[str]
    side: Mapped[str]
    quantity: Mapped[Decimal]
    price: Mapped[Decimal]
    fee: Mapped[Decimal]
    """Quote currency, positive is paid."""
    fee_rate: Mapped[Decimal]
    is_maker: Mapped[bool]
    kind: Mapped[str]
    exec_time_ms: Mapped[int]

    __table_args__ = (
        Index("fills_by_account", "run_id", "account", "exec_time_ms", "exec_id"),
        Index("fills_by_time", "run_id", "exec_time_ms", "order_link_id", "exec_id"),
        Index("fills_by_order", "run_id", "order_link_id"),
    )


class PositionRow(Table):
    """What the executions of one symbol add up to."""

    __tablename__ = "positions"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[Decimal]
    """Base units, negative is short."""
    bought_quantity: Mapped[Decimal]
    sold_quantity: Mapped[Decimal]
    cash_flow: Mapped[Decimal]
    """Sold minus bought value, quote currency: the realised result once the position is flat; fees not counted."""
    fees: Mapped[Decimal]
    """Trading fees, positive is paid."""
    funding: Mapped[Decimal]
    """Positive is paid."""
    fills: Mapped[int]
    last_exec_time_ms: Mapped[int]


class SnapshotRow(Table):
    """The account as the exchange stated it: the first of each day's opening, the last of each day's others."""

    __tablename__ = "account_snapshots"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    equity: Mapped[Decimal]
    wallet_balance: Mapped[Decimal]
    net_deposits: Mapped[Decimal]
    """Deposits - withdrawals since the opening of the day before."""
    positions: Mapped[list[Any]]
    """Open positions: symbol, size, average_price, mark_price, unrealised_pnl; decimals as text."""
    fills_total: Mapped[int]
    """Executions that the account had counted by then."""
    event_time_ms: Mapped[int]


class DailyPerformanceRow(Table):
    """One closed day of one account."""

    __tablename__ = "daily_performance"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    equity: Mapped[Decimal]
    net_deposits: Mapped[Decimal]
    ror: Mapped[Decimal]
    cumulative: Mapped[Decimal]
    drawdown: Mapped[Decimal]
    mdd: Mapped[Decimal]
    orders: Mapped[int]
    """Orders with executions on this day."""
    fills: Mapped[int]


class DayParityRow(Table):
    """One closed day of one account beside the backtest of the day's recording; the first comparison counts."""

    __tablename__ = "day_parity"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    comparable: Mapped[bool]
    reason: Mapped[str]
    """Why the day is not comparable; empty if it is."""
    orders_equal: Mapped[int]
    orders_different: Mapped[int]
    cost: Mapped[Decimal]
    """What the differences cost, quote currency, positive is paid."""
    total_bps: Mapped[Decimal]
    """The same, basis points of the equity at the day's open."""
    differences: Mapped[list[Any]]
    """As `breakwater_research.parity.Difference.as_values` gives them; `a` is the backtest."""
    announced: Mapped[bool]
    """Whether the message that tells of it was acknowledged."""


class AlertRow(Table):
    """Something that a person should know."""

    __tablename__ = "alerts"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str] = mapped_column(primary_key=True)
    severity: Mapped[str]
    service: Mapped[str]
    name: Mapped[str]
    summary: Mapped[str]
    facts: Mapped[dict[str, Any]]
    account: Mapped[str]
    symbol: Mapped[str]
    event_time_ms: Mapped[int]

    __table_args__ = (Index("alerts_by_time", "run_id", "event_time_ms"),)
