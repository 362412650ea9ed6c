"""The JSON of the HTTP API: decimals as text, times as milliseconds and as ISO 8601 in UTC."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from breakwater_core.decimals import to_text
from reporter_service.tables import DailyPerformanceRow, DayParityRow, FillRow, IntentRow, OrderRow, PositionRow, RunRow

DecimalText = Annotated[
    Decimal,
    PlainSerializer(to_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "decimal", "examples": ["29871.5"]}),
]
"""A decimal as plain text, so that no reader rounds it."""


def instant(time_ms: int) -> datetime:
    """Return the aware UTC time of milliseconds since 1970-01-01T00:00Z."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC)


class Model(BaseModel):
    """Base of the answers."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page[T](Model):
    """Part of a list."""

    items: list[T]
    total: int = Field(description="Rows that match, on all pages.")
    limit: int
    offset: int


class Fault(Model):
    """Why a request has no answer."""

    detail: str


class Run(Model):
    """A run: live, or a replay."""

    run_id: str
    strategy_version: str
    state: str = Field(description="`running`, or `ended` once the recording was over.", examples=["running"])
    started_at_ms: int = Field(description="Wall clock.")
    started_at: datetime
    ended_at_ms: int | None = Field(description="Wall clock.")
    ended_at: datetime | None
    day: date | None = Field(description="Latest day that opened.")
    trades_total: int = Field(description="Trades of the market that the run has seen.")

    @classmethod
    def of(cls, row: RunRow) -> Self:
        """Return the answer that shows the row."""
        ended_at_ms = row.ended_at_ms
        return cls(
            run_id=row.run_id,
            strategy_version=row.strategy_version,
            state="running" if ended_at_ms is None else "ended",
            started_at_ms=row.started_at_ms,
            started_at=instant(row.started_at_ms),
            ended_at_ms=ended_at_ms,
            ended_at=None if ended_at_ms is None else instant(ended_at_ms),
            day=row.day,
            trades_total=row.trades_total,
        )


class RunDetail(Run):
    """A run with its configuration and what it holds."""

    config: dict[str, Any]
    accounts: list[str]
    intents: int
    orders: int
    fills: int
    alerts: int


class Order(Model):
    """An order in its furthest known state."""

    order_link_id: str
    intent_id: str
    strategy_version: str = Field(description="Configuration that it was decided under.")
    account: str
    symbol: str
    day: date
    side: str
    leg: str
    reduce_only: bool
    status: str
    quantity: DecimalText
    filled_quantity: DecimalText
    average_price: DecimalText | None
    target_price: DecimalText
    trigger_price: DecimalText
    trigger_time_ms: int
    trigger_time: datetime
    slippage_bps: DecimalText | None = Field(description="How much worse than the target it filled.")
    reason: str
    detail: str

    @classmethod
    def of(cls, row: OrderRow) -> Self:
        """Return the answer that shows the row."""
        return cls(**_columns(cls, row), trigger_time=instant(row.trigger_time_ms))


class Refusal(Model):
    """A decision that left no order at the exchange."""

    intent_id: str
    strategy_version: str = Field(description="Configuration that it was decided under.")
    account: str
    symbol: str
    day: date
    side: str
    leg: str
    status: str
    reason: str
    detail: str
    target_price: DecimalText
    trigger_price: DecimalText
    trigger_time_ms: int
    trigger_time: datetime

    @classmethod
    def of(cls, row: IntentRow) -> Self:
        """Return the answer that shows the row."""
        return cls(**_columns(cls, row), trigger_time=instant(row.trigger_time_ms))


class Execution(Model):
    """A fill, or a funding payment."""

    exec_id: str
    account: str
    symbol: str
    order_id: str
    order_link_id: str
    side: str
    quantity: DecimalText
    price: DecimalText
    fee: DecimalText = Field(description="Quote currency, positive is paid.")
    fee_rate: DecimalText
    is_maker: bool
    kind: str
    exec_time_ms: int
    exec_time: datetime

    @classmethod
    def of(cls, row: FillRow) -> Self:
        """Return the answer that shows the row."""
        return cls(**_columns(cls, row), exec_time=instant(row.exec_time_ms))


class StatedPosition(Model):
    """An open position as the exchange stated it."""

    size: DecimalText
    average_price: DecimalText
    mark_price: DecimalText
    unrealised_pnl: DecimalText
    stated_at_ms: int
    stated_at: datetime


class Position(Model):
    """What the fills of a symbol add up to, beside what the exchange last stated."""

    account: str
    symbol: str
    size: DecimalText = Field(description="Base units, negative is short.")
    bought_quantity: DecimalText
    sold_quantity: DecimalText
    cash_flow: DecimalText = Field(description="Sold minus bought value: the realised result while flat, before fees.")
    fees: DecimalText
    funding: DecimalText
    fills: int
    last_exec_time_ms: int
    last_exec_time: datetime
    exchange: StatedPosition | None = Field(description="None if the exchange stated no open position.")

    @classmethod
    def of(cls, row: PositionRow, exchange: StatedPosition | None) -> Self:
        """Return the answer that shows the row beside the exchange's statement."""
        return cls(**_columns(cls, row), last_exec_time=instant(row.last_exec_time_ms), exchange=exchange)


class Performance(Model):
    """A closed day."""

    account: str
    day: date
    equity: DecimalText
    net_deposits: DecimalText
    ror: DecimalText = Field(description="Growth factor; 1.01 is a gain of 1 %.")
    cumulative: DecimalText = Field(description="Product of the growth factors.")
    drawdown: DecimalText
    mdd: DecimalText
    orders: int = Field(description="Orders with executions on the day.")
    fills: int

    @classmethod
    def of(cls, row: DailyPerformanceRow) -> Self:
        """Return the answer that shows the row."""
        return cls(**_columns(cls, row))


class ParityDifference(Model):
    """One thing in which a day differs from its backtest; docs/parity.md explains causes and costs."""

    cause: str
    subject: str = Field(description="What differs.", examples=["BTCUSDT entry"])
    field: str = Field(description="The value that differs.", examples=["avg_price"])
    expected: str = Field(description="In the backtest.", validation_alias="a")
    actual: str = Field(description="In the account.", validation_alias="b")
    cost: str = Field(description="Quote currency, positive is paid.")
    cost_bps: str | None = Field(description="The same of the order's value, basis points.")


class Parity(Model):
    """A closed day beside the backtest of its recording."""

    account: str
    day: date
    comparable: bool
    reason: str = Field(description="Why it is not comparable.")
    orders_equal: int
    orders_different: int
    cost: DecimalText = Field(description="What the differences cost, quote currency, positive is paid.")
    total_bps: DecimalText = Field(description="The same, basis points of the equity at the day's open.")
    differences: list[ParityDifference]

    @classmethod
    def of(cls, row: DayParityRow) -> Self:
        """Return the answer that shows the row."""
        return cls(**_columns(cls, row))


def _columns(model: type[BaseModel], row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in model.model_fields if hasattr(row, name)}
