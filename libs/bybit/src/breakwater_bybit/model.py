"""What the exchange states, as typed values: orders, executions, positions, wallet, candles, tickers, keys.

Prices are quote currency per 1 base unit, quantities are base units, times are milliseconds since
1970-01-01T00:00Z (exchange time). Money and quantities of the account are Decimal, market data is float64. None
means that the exchange left the field empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from breakwater_core.events import Fill, FillKind, OrderStatus, Position, Side
from breakwater_core.market import TradeBatch

DAY_MS = 86_400_000
_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED})
_EXTERNAL_FLOWS = frozenset({"TRANSFER_IN", "TRANSFER_OUT"})


class Interval(StrEnum):
    """Length of a candle, as the exchange writes it."""

    MINUTE = "1"
    MINUTES_3 = "3"
    MINUTES_5 = "5"
    MINUTES_15 = "15"
    MINUTES_30 = "30"
    HOUR = "60"
    HOURS_2 = "120"
    HOURS_4 = "240"
    HOURS_6 = "360"
    HOURS_12 = "720"
    DAY = "D"
    WEEK = "W"

    @property
    def milliseconds(self) -> int:
        """Length in milliseconds."""
        days = {Interval.DAY: 1, Interval.WEEK: 7}.get(self)
        return days * DAY_MS if days else int(self.value) * 60_000


@dataclass(frozen=True, slots=True)
class Candle:
    """One candle; `is_closed` tells whether it may still change.

    Attributes:
        start_ms: Begin of the candle; it covers [start_ms, start_ms + interval).
        volume: Traded base units.
        turnover: Traded value in quote currency.
    """

    symbol: str
    interval: Interval
    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    is_closed: bool


@dataclass(frozen=True, slots=True)
class PublicTrades:
    """Trades of one symbol, oldest first, with what is needed to tell them apart.

    Attributes:
        batch: Times, prices, sizes and taker sides.
        trade_ids: The exchange's id of each trade, unique; the same on the stream and over REST.
        are_block: Shape (n_trades,), bool: agreed off the book, so the price need not be the market's.
    """

    batch: TradeBatch
    trade_ids: tuple[str, ...]
    are_block: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.batch)


@dataclass(frozen=True, slots=True)
class Ticker:
    """State of a market; in a delta only what changed is set.

    Attributes:
        funding_rate: Share of the position's value that longs pay to shorts at the next stamp.
        next_funding_ms: Time of that stamp.
        is_delta: Whether None means "as before" rather than "empty".
        time_ms: When the exchange made the statement.
    """

    symbol: str
    time_ms: int
    is_delta: bool
    last_price: float | None = None
    mark_price: float | None = None
    index_price: float | None = None
    bid_price: float | None = None
    bid_size: float | None = None
    ask_price: float | None = None
    ask_size: float | None = None
    funding_rate: float | None = None
    next_funding_ms: int | None = None

    def updated(self, delta: "Ticker") -> "Ticker":
        """Return this state with the delta's changes; a snapshot replaces it."""
        if not delta.is_delta:
            return delta

        def newer[T](new: T | None, old: T | None) -> T | None:
            return old if new is None else new

        return Ticker(
            symbol=self.symbol,
            time_ms=delta.time_ms,
            is_delta=self.is_delta,
            last_price=newer(delta.last_price, self.last_price),
            mark_price=newer(delta.mark_price, self.mark_price),
            index_price=newer(delta.index_price, self.index_price),
            bid_price=newer(delta.bid_price, self.bid_price),
            bid_size=newer(delta.bid_size, self.bid_size),
            ask_price=newer(delta.ask_price, self.ask_price),
            ask_size=newer(delta.ask_size, self.ask_size),
            funding_rate=newer(delta.funding_rate, self.funding_rate),
            next_funding_ms=newer(delta.next_funding_ms, self.next_funding_ms),
        )


@dataclass(frozen=True, slots=True)
class FundingRate:
    """A settled funding rate: longs paid shorts this share of the position's value when positive."""

    symbol: str
    rate: Decimal
    time_ms: int


@dataclass(frozen=True, slots=True)
class OrderAck:
    """The exchange took the order in; whether and how it filled is told by `find_order` or the stream."""

    order_id: str
    order_link_id: str


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order as the exchange states it.

    Attributes:
        status: The state in our terms. CANCELLED and REJECTED may come with fills.
        exchange_status: The state in the exchange's word, e.g. `PartiallyFilledCanceled`.
        filled_quantity: Executed so far.
        average_price: Average price of the fills; None without fills.
        fee: Paid so far, quote currency.
        reject_reason: The exchange's code, e.g. `EC_NoImmediateQtyToFill`; empty when there is none.
        cancel_type: Who cancelled, e.g. `CancelByUser`; empty when nobody did.
    """

    symbol: str
    order_id: str
    order_link_id: str
    side: Side
    order_type: str
    status: OrderStatus
    exchange_status: str
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    fee: Decimal
    reduce_only: bool
    reject_reason: str
    cancel_type: str
    created_ms: int
    updated_ms: int

    @property
    def is_final(self) -> bool:
        """Whether nothing more can happen to the order."""
        return self.status in _FINAL


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill, funding payment or forced close.

    Attributes:
        fee: Quote currency, positive is paid; for funding the payment itself.
        execution_type: The exchange's word, e.g. `Trade`, `Funding`, `BustTrade`.
        closed_quantity: How much of the fill shrank the position; None when not stated.
        sequence: Ties the fill to a position update; unique together with the symbol only.
    """

    exec_id: str
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
    execution_type: str
    closed_quantity: Decimal | None
    sequence: int
    exec_time_ms: int

    def to_fill(self, *, run_id: str, account: str) -> Fill:
        """Return the execution as a fill of the run and account."""
        return Fill(
            exec_id=self.exec_id,
            run_id=run_id,
            account=account,
            symbol=self.symbol,
            order_id=self.order_id,
            order_link_id=self.order_link_id,
            side=self.side,
            quantity=self.quantity,
            price=self.price,
            fee=self.fee,
            fee_rate=self.fee_rate,
            is_maker=self.is_maker,
            kind=self.kind,
            exec_time_ms=self.exec_time_ms,
        )


@dataclass(frozen=True, slots=True)
class PositionState:
    """A position as the exchange states it; flat ones included.

    Attributes:
        size: Base units, negative when short, 0 when flat.
        average_price: Entry price; None when flat.
        position_index: 0 in one-way mode; 1 long side, 2 short side in hedge mode.
        sequence: Ties the update to a fill; unique together with the symbol only.
    """

    symbol: str
    size: Decimal
    average_price: Decimal | None
    mark_price: Decimal | None
    leverage: Decimal | None
    unrealised_pnl: Decimal | None
    current_realised_pnl: Decimal | None
    liquidation_price: Decimal | None
    position_index: int
    sequence: int
    updated_ms: int

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held."""
        return self.size == 0

    def to_position(self) -> Position:
        """Return the position in core's terms; an unstated result follows from mark and entry price."""
        average = self.average_price or Decimal(0)
        mark = average if self.mark_price is None else self.mark_price
        unrealised = self.size * (mark - average) if self.unrealised_pnl is None else self.unrealised_pnl
        return Position(
            symbol=self.symbol,
            size=self.size,
            average_price=average,
            mark_price=mark,
            unrealised_pnl=unrealised,
        )


@dataclass(frozen=True, slots=True)
class Wallet:
    """One coin of a unified account, and the account's totals.

    Attributes:
        equity: Wallet balance and unrealised result, in the coin.
        initial_margin: Taken by positions and orders, in the coin; None when not stated.
        total_equity: Of the whole account, USD.
        total_available_balance: Free for new positions, USD; None in isolated margin mode.
    """

    coin: str
    equity: Decimal
    wallet_balance: Decimal
    unrealised_pnl: Decimal
    cumulative_realised_pnl: Decimal | None
    initial_margin: Decimal | None
    total_equity: Decimal | None
    total_wallet_balance: Decimal | None
    total_margin_balance: Decimal | None
    total_available_balance: Decimal | None
    total_initial_margin: Decimal | None
    total_maintenance_margin: Decimal | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class TransactionEntry:
    """A line of the account's transaction log.

    Attributes:
        entry_type: The exchange's word, e.g. `TRADE`, `SETTLEMENT`, `TRANSFER_IN`.
        change: Change of the wallet balance, in `currency`.
        funding: Positive is received: the opposite sign of a funding execution's fee.
        balance: Wallet balance afterwards, in `currency`.
    """

    entry_id: str
    entry_type: str
    currency: str
    symbol: str
    change: Decimal
    funding: Decimal | None
    fee: Decimal | None
    balance: Decimal | None
    order_link_id: str
    trade_id: str
    time_ms: int

    @property
    def is_transfer(self) -> bool:
        """Whether money came from or went to outside the trading account: a deposit or withdrawal."""
        return self.entry_type in _EXTERNAL_FLOWS


@dataclass(frozen=True, slots=True)
class FeeRate:
    """Share of the traded value that is paid as taker and as maker."""

    symbol: str
    taker: Decimal
    maker: Decimal


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """Settings of the account.

    Attributes:
        margin_mode: `REGULAR_MARGIN` is cross, `ISOLATED_MARGIN`, `PORTFOLIO_MARGIN`.
        unified_margin_status: 3 to 6; 5 and 6 are the second unified generation.
    """

    margin_mode: str
    unified_margin_status: int

    @property
    def is_cross_margin(self) -> bool:
        """Whether all positions share the balance."""
        return self.margin_mode == "REGULAR_MARGIN"

    @property
    def is_unified(self) -> bool:
        """Whether it is a unified account."""
        return self.unified_margin_status >= 3


@dataclass(frozen=True, slots=True)
class KeyInformation:
    """What an API key may do; neither key nor secret is kept.

    Attributes:
        permissions: Rights per area, e.g. `{"ContractTrade": ("Order", "Position")}`.
        ips: Addresses that the key is bound to; empty or `*`: any.
        deadline_day: Days until the key expires; None when it is bound to addresses and does not expire.
        expires_at_ms: When the key expires; None when it does not.
        user_id: The account's number (UID).
    """

    read_only: bool
    permissions: Mapping[str, tuple[str, ...]]
    ips: tuple[str, ...]
    deadline_day: int | None
    expires_at_ms: int | None
    user_id: str
    is_unified: bool
    vip_level: str

    @property
    def may_trade_contracts(self) -> bool:
        """Whether the key may place orders and change positions of contracts."""
        rights = self.permissions.get("ContractTrade", ())
        return not self.read_only and "Order" in rights and "Position" in rights

    @property
    def may_withdraw(self) -> bool:
        """Whether the key may move money out of the exchange; a trading key must not."""
        return any("withdraw" in right.lower() for right in self.permissions.get("Wallet", ()))
