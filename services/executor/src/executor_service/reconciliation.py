"""The exchange's statements beside our books: what differs, to the last decimal. No I/O."""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_bybit.model import OrderState, PositionState
from breakwater_core.decimals import MONEY
from executor_service.account_ledger import AccountLedger

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Reading:
    """An account as the exchange stated it while no execution came in.

    Attributes:
        fills_total: Executions booked when it was taken; a reading counts only with the books of that moment.
        wallet_balance: Quote currency.
        time_ms: Venue time of the wallet's statement.
    """

    fills_total: int
    positions: tuple[PositionState, ...]
    wallet_balance: Decimal
    open_orders: tuple[OrderState, ...]
    time_ms: int

    @property
    def sizes(self) -> dict[str, Decimal]:
        """Positions by symbol, base units, negative when short."""
        found: dict[str, Decimal] = {}
        for position in self.positions:
            found[position.symbol] = found.get(position.symbol, _ZERO) + position.size
        return found


@dataclass(frozen=True, slots=True)
class PositionDifference:
    """A position that is not the sum of its fills, base units."""

    symbol: str
    ledger: Decimal
    exchange: Decimal

    @property
    def difference(self) -> Decimal:
        """Exchange - ledger."""
        return self.exchange - self.ledger


@dataclass(frozen=True, slots=True)
class WalletDifference:
    """A wallet that is not the sum of what moved it, quote currency."""

    ledger: Decimal
    exchange: Decimal

    @property
    def difference(self) -> Decimal:
        """Exchange - ledger."""
        return MONEY.subtract(self.exchange, self.ledger)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs in one reading."""

    positions: tuple[PositionDifference, ...] = ()
    wallet: WalletDifference | None = None

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.positions and self.wallet is None

    def confirmed_by(self, second: "Comparison") -> "Comparison":
        """Return what a second reading shows by the same amount: the rest was on its way."""
        amounts = {difference.symbol: difference.difference for difference in second.positions}
        wallet = self.wallet
        if wallet is not None and (second.wallet is None or second.wallet.difference != wallet.difference):
            wallet = None
        positions = [known for known in self.positions if amounts.get(known.symbol) == known.difference]
        return Comparison(tuple(positions), wallet)


def compare(ledger: AccountLedger, reading: Reading, *, wallet_tolerance: Decimal = _ZERO) -> Comparison:
    """Return what differs between the books and a reading; wallets up to the tolerance apart are equal."""
    sizes = reading.sizes
    positions = tuple(
        PositionDifference(symbol, ledger.size(symbol), sizes.get(symbol, _ZERO))
        for symbol in sorted({*sizes, *ledger.symbols})
        if ledger.size(symbol) != sizes.get(symbol, _ZERO)
    )
    wallet = WalletDifference(ledger.wallet_balance, reading.wallet_balance)
    return Comparison(positions, wallet if wallet.difference.copy_abs() > wallet_tolerance else None)
