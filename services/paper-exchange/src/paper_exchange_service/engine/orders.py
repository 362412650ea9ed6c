"""Orders and executions as the exchange keeps them, with Bybit's own names for states."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from breakwater_core.events import Side

ZERO = Decimal(0)
NEVER_MS = 2**62
"""An order that waits for its matching cannot fill from trades yet."""


class OrderType(StrEnum):
    """How the price of an order is set."""

    MARKET = "Market"
    LIMIT = "Limit"


class TimeInForce(StrEnum):
    """How long an order may rest."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    POST_ONLY = "PostOnly"


class Status(StrEnum):
    """State of an order."""

    NEW = "New"
    PARTIALLY_FILLED = "PartiallyFilled"
    UNTRIGGERED = "Untriggered"
    TRIGGERED = "Triggered"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"
    DEACTIVATED = "Deactivated"

    @property
    def is_open(self) -> bool:
        """Whether the order may still fill."""
        return self in _OPEN


_OPEN = frozenset({Status.NEW, Status.PARTIALLY_FILLED, Status.UNTRIGGERED, Status.TRIGGERED})


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What a client asks for, checked for form but not against rules, position or balance.

    Attributes:
        quantity: Base units; 0 closes the whole position (with `reduce_only` and `close_on_trigger`).
        price: Limit price; None for a market order.
        position_index: 0 one-way, 1 long side, 2 short side.
        trigger_price: Makes the order conditional.
        trigger_direction: 1 the price rises to the trigger, 2 it falls to it; 0 without a trigger.
        slippage_ratio: Narrower bound of a market order as a share of the last price; None: the exchange's band.
        slippage_ticks: The same in ticks.
    """

    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    order_link_id: str = ""
    reduce_only: bool = False
    close_on_trigger: bool = False
    position_index: int = 0
    trigger_price: Decimal | None = None
    trigger_direction: int = 0
    trigger_by: str = ""
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    slippage_ratio: Decimal | None = None
    slippage_ticks: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of an accepted order when it is matched for the first time.

    Attributes:
        rejected: Reason for which it is rejected; empty: it is not.
        share: Part of it that may fill, the rest is cancelled; None: all of it.
    """

    rejected: str = ""
    share: Decimal | None = None


AS_IT_IS = Outcome()


@dataclass(slots=True, eq=False)
class Order:
    """One order; times are milliseconds UTC, quantities base units, values quote currency.

    Attributes:
        active_ms: Trades later than this may fill or trigger the order; `NEVER_MS` until it was matched once.
        bound: Worst price it may fill at: the limit, or the slippage bound of a market order.
        margin: Balance set aside while the order is open.
        closes_all: The quantity follows the position.
        outcome: What an injected fault makes of its first matching.
    """

    account: str
    order_id: str
    request: OrderRequest
    quantity: Decimal
    bound: Decimal
    created_ms: int
    updated_ms: int
    active_ms: int
    last_price_on_created: Decimal
    status: Status = Status.NEW
    filled: Decimal = ZERO
    filled_value: Decimal = ZERO
    fee: Decimal = ZERO
    fills: int = 0
    margin: Decimal = ZERO
    trigger_price: Decimal | None = None
    closes_all: bool = False
    cancel_type: str = "UNKNOWN"
    reject_reason: str = "EC_NoError"
    stop_order_type: str = ""
    create_type: str = "CreateByUser"
    closed_pnl: Decimal = ZERO
    outcome: Outcome = AS_IT_IS
    executions: list["Execution"] = field(default_factory=list)

    @property
    def symbol(self) -> str:
        """Venue symbol."""
        return self.request.symbol

    @property
    def side(self) -> Side:
        """Side of the order."""
        return self.request.side

    @property
    def link_id(self) -> str:
        """The client's id; empty if it gave none."""
        return self.request.order_link_id

    @property
    def leaves(self) -> Decimal:
        """Quantity that may still fill: nothing once the order is closed."""
        return self.quantity - self.filled if self.status.is_open else ZERO

    @property
    def average(self) -> Decimal | None:
        """Average fill price, or None without a fill."""
        return self.filled_value / self.filled if self.filled else None

    @property
    def is_market(self) -> bool:
        """Whether the order takes at any price within its bound and never rests."""
        return self.request.order_type is OrderType.MARKET


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill, funding payment or liquidation; `fee` is positive when paid.

    Attributes:
        sequence: Rises with every execution of the account and symbol; the same for the same fill in every run.
    """

    exec_id: str
    order: Order | None
    account: str
    symbol: str
    position_index: int
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_rate: Decimal
    is_maker: bool
    kind: str
    time_ms: int
    sequence: int
    closed: Decimal
    pnl: Decimal
    leaves: Decimal
    mark: Decimal

    @property
    def value(self) -> Decimal:
        """Value in quote currency."""
        return self.quantity * self.price

    @property
    def order_id(self) -> str:
        """Id of the order behind it; funding has the execution's own id."""
        return self.order.order_id if self.order else self.exec_id
