"""What the services tell each other about decisions, orders, fills and accounts.

Events are facts in the past tense of one run. Times are milliseconds since 1970-01-01T00:00Z (venue time).
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    """Side of an order or fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a purchase, -1 for a sale."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Leg(StrEnum):
    """Why an order exists."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP = "stop"
    FLATTEN = "flatten"

    @property
    def reduces(self) -> bool:
        """Whether orders of this leg may only shrink a position."""
        return self is not Leg.ENTRY


@dataclass(frozen=True, slots=True)
class Intent:
    """A decision of the strategy for one account and symbol; see `intent.proto` for the units.

    `side` is that of the order (an exit of a long position sells); `valid_until_ms` is None for anything that
    reduces a position.
    """

    intent_id: str
    run_id: str
    account: str
    strategy_version: str
    symbol: str
    day: date
    leg: Leg
    attempt: int
    side: Side
    target_price: Decimal
    trigger_price: Decimal
    trigger_time_ms: int
    valid_until_ms: int | None
    gross_leverage: Decimal
    portfolio_size: int
    epoch: int = 0


class OrderStatus(StrEnum):
    """State of an order, or how an intent ended without one."""

    SUBMITTED = "submitted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    EXPIRED = "expired"
    FLAT = "flat"

    @property
    def has_order(self) -> bool:
        """Whether an order may exist at the exchange in this state."""
        return self not in {OrderStatus.REFUSED, OrderStatus.EXPIRED, OrderStatus.FLAT}


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """A state change of an order, or the end of an intent without one; see `order.proto`."""

    event_id: str
    run_id: str
    account: str
    symbol: str
    day: date
    strategy_version: str
    intent_id: str
    order_link_id: str
    child: int
    status: OrderStatus
    leg: Leg
    side: Side
    reduce_only: bool
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    target_price: Decimal
    trigger_price: Decimal
    trigger_time_ms: int
    intent_closed: bool
    event_time_ms: int
    reason: str = ""
    detail: str = ""


class FillKind(StrEnum):
    """What caused an execution."""

    TRADE = "trade"
    FUNDING = "funding"
    LIQUIDATION = "liquidation"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution at the exchange; `fee` in quote currency, positive is paid."""

    exec_id: str
    run_id: str
    account: str
    symbol: str
    order_id: str
    order_link_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_rate: Decimal
    is_maker: bool
    kind: FillKind
    exec_time_ms: int


@dataclass(frozen=True, slots=True)
class Position:
    """An open position; `size` is negative when short."""

    symbol: str
    size: Decimal
    average_price: Decimal
    mark_price: Decimal
    unrealised_pnl: Decimal


class SnapshotKind(StrEnum):
    """Why an account snapshot was taken."""

    PERIODIC = "periodic"
    DAY_OPEN = "day_open"


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account as the exchange states it; see `account.proto`."""

    run_id: str
    account: str
    kind: SnapshotKind
    day: date
    equity: Decimal
    wallet_balance: Decimal
    net_deposits: Decimal
    positions: tuple[Position, ...]
    fills_total: int
    event_time_ms: int


@dataclass(frozen=True, slots=True)
class DailyPerformance:
    """One closed day of one account; the formulas are in `breakwater_core.performance`."""

    run_id: str
    account: str
    day: date
    equity: Decimal
    net_deposits: Decimal
    ror: Decimal
    cumulative: Decimal
    drawdown: Decimal
    mdd: Decimal
    orders: int = 0
    fills: int = 0


@dataclass(frozen=True, slots=True)
class DayDifference:
    """One thing in which a day differs from its backtest.

    Attributes:
        subject: What differs, e.g. `BTCUSDT entry`.
        cause: Why, e.g. `slippage`; docs/parity.md lists them.
        field: The value that differs, by its name in the report.
        expected: Its value in the backtest; empty if it has none.
        actual: Its value in the account; empty if it has none.
        cost_bps: What it cost, basis points of the order's value, positive is paid; None: nothing to relate it to.
    """

    subject: str
    cause: str
    field: str
    expected: str
    actual: str
    cost_bps: Decimal | None


@dataclass(frozen=True, slots=True)
class DayParity:
    """One closed day of one account beside the backtest of the day's recording.

    Attributes:
        comparable: Whether the recording allowed a comparison.
        reason: Why not; empty if it did.
        total_bps: What the differences cost, basis points of the equity at the day's open.
        differences: The first ones, orders before figures of the day.
        differences_total: How many there are.
    """

    run_id: str
    account: str
    day: date
    comparable: bool
    reason: str = ""
    orders_equal: int = 0
    orders_different: int = 0
    total_bps: Decimal = Decimal(0)
    differences: tuple[DayDifference, ...] = ()
    differences_total: int = 0


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know; `name` has an entry in docs/runbook.md."""

    alert_id: str
    run_id: str
    severity: Severity
    service: str
    name: str
    summary: str
    event_time_ms: int
    account: str = ""
    symbol: str = ""
    facts: dict[str, str] = field(default_factory=dict)
