"""An account: its key, its wallet, what it holds and what it has done."""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.events import Side
from paper_exchange_service.engine.orders import Execution, Order, OrderRequest, Status
from paper_exchange_service.engine.positions import Position
from paper_exchange_service.engine.refusal import bad_parameter, reduce_only
from paper_exchange_service.engine.timed_log import TimedLog

ZERO = Decimal(0)
DEFAULT_LEVERAGE = Decimal(10)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and what it may do.

    Attributes:
        read_only: The key may not change anything.
        ips: Addresses that may use it; empty: any.
        expires_ms: Time at which it expires; None: never.
        permissions: Bybit's `ContractTrade` rights.
        wallet_permissions: Bybit's `Wallet` rights.
    """

    key: str
    secret: str
    read_only: bool = False
    ips: tuple[str, ...] = ()
    expires_ms: int | None = None
    permissions: tuple[str, ...] = ("Order", "Position")
    wallet_permissions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Credentials(key=***, secret=***)"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One change of the wallet.

    Attributes:
        kind: Bybit's type: TRADE, SETTLEMENT, TRANSFER_IN, TRANSFER_OUT.
        cash_flow: Realised profit, or the amount moved.
        funding: Funding received; negative is paid.
        fee: Fee paid.
        size: Position after it, signed.
    """

    time_ms: int
    record_id: str
    sequence: int
    kind: str
    symbol: str
    side: Side | None
    execution: Execution | None
    cash_flow: Decimal
    funding: Decimal
    fee: Decimal
    size: Decimal

    @property
    def change(self) -> Decimal:
        """Change of the wallet balance."""
        return self.cash_flow + self.funding - self.fee


@dataclass(frozen=True, slots=True)
class ClosedPnl:
    """A position, or a part of it, that an order closed; `pnl` is after the fees of both ways."""

    order: Order
    time_ms: int
    sequence: int
    quantity: Decimal
    entry_value: Decimal
    exit_value: Decimal
    entry_price: Decimal
    pnl: Decimal
    leverage: Decimal
    kind: str


class Account:
    """Books of one account; the engine alone changes them."""

    def __init__(self, name: str, number: int, credentials: Credentials) -> None:
        self.name = name
        self.uid = 100_000_000 + number
        self.credentials = credentials
        self.more_keys: dict[str, Credentials] = {}
        self.wallet = ZERO
        self.deposits = ZERO
        self.realised = ZERO
        self.fees = ZERO
        self.funding = ZERO
        self.order_margin = ZERO
        self.margin_mode = "REGULAR_MARGIN"
        self.hedge_default = False
        self.hedge_symbols: dict[str, bool] = {}
        self.leverage: dict[str, Decimal] = {}
        self.positions: dict[tuple[str, int], Position] = {}
        self.held: dict[tuple[str, int], Position] = {}
        self.orders: dict[str, Order] = {}
        self.links: dict[str, Order] = {}
        self.open_orders: dict[str, dict[str, Order]] = {}
        self.order_log: TimedLog[Order] = TimedLog(lambda order: (order.created_ms, order.symbol, order.order_id))
        self.executions: TimedLog[Execution] = TimedLog(lambda fill: (fill.time_ms, fill.symbol, fill.sequence))
        self.transactions: TimedLog[Transaction] = TimedLog(lambda entry: (entry.time_ms, entry.symbol, entry.sequence))
        self.closed_pnl: TimedLog[ClosedPnl] = TimedLog(
            lambda closed: (closed.time_ms, closed.order.symbol, closed.sequence)
        )
        self.order_counter = 0
        self.transfers = 0
        self._sequences: dict[str, int] = {}
        self.seen_ms: dict[str, int] = {}
        """Per symbol: funding, triggers and resting orders are settled through this time."""
        self.margin_ms = -1
        """The margin was checked through this time."""

    def credentials_of(self, key: str) -> Credentials:
        """Return one of the account's keys with what it may do."""
        return self.more_keys.get(key, self.credentials)

    def next_sequence(self, symbol: str, time_ms: int) -> int:
        """Return the sequence of the symbol's next execution: that of the time, or the next free one."""
        found = self._sequences[symbol] = max(self._sequences.get(symbol, 0) + 1, time_ms * 1000)
        return found

    def is_hedged(self, symbol: str) -> bool:
        """Whether the symbol is in hedge mode (long and short side apart)."""
        return self.hedge_symbols.get(symbol, self.hedge_default)

    def leverage_of(self, symbol: str) -> Decimal:
        """Return the leverage set for the symbol."""
        return self.leverage.get(symbol, DEFAULT_LEVERAGE)

    def position(self, symbol: str, index: int) -> Position:
        """Return the position, flat if it was never opened."""
        key = (symbol, index)
        found = self.positions.get(key)
        if found is None:
            found = self.positions[key] = Position(symbol, index)
        return found

    def resolve(self, request: OrderRequest) -> tuple[Position, bool]:
        """Return the position that an order works on, and whether the order may only shrink it.

        In hedge mode a sale on the long side and a purchase on the short side can only shrink.

        Raises:
            Refusal: If the index does not fit the position mode, or a reduce-only order has the side that grows.
        """
        index = request.position_index
        if self.is_hedged(request.symbol) != (index in {1, 2}):
            raise bad_parameter("position idx not match position mode")
        grows = (index == 1) == (request.side is Side.BUY)
        if index and grows and request.reduce_only:
            raise reduce_only("reduce-only order has same side with current position")
        return self.position(request.symbol, index), request.reduce_only or bool(index and not grows)

    def open_count(self, symbol: str, *, conditional: bool) -> int:
        """Return how many open orders of the symbol wait for a trigger, or do not."""
        return sum(
            (order.status is Status.UNTRIGGERED) is conditional for order in self.open_orders.get(symbol, {}).values()
        )
