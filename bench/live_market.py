"""The market of the live benchmarks: many symbols at one price, a day that is under way, targets that one trade passes.

The day begins some hours ago whatever the time, so that no benchmark runs into an exit window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import BarState, DailyBar
from breakwater_core.session import Session
from executor_service.day_open import DayOpen

QUIET_PRICE = 100.0
"""Between the targets."""
TARGET_PRICE = 101.0
TRIGGER_PRICE = 102.0
"""Behind the long target."""
_RANGE = 2.0
_EQUITY = Decimal(1_000_000)
_HOURS_UNDER_WAY = 6


@dataclass(frozen=True)
class LiveMarket:
    """A portfolio on a running day.

    Attributes:
        config: Its configuration.
        day: The running day.
        now_ms: When it was made, Unix milliseconds.
    """

    config: BreakwaterConfig
    day: date
    now_ms: int

    @property
    def session(self) -> Session:
        """The session."""
        return self.config.session.session()

    def bars(self) -> list[DailyBar]:
        """Return the CLOSED bars that the strategy needs and the OPEN bars of the day."""
        symbols = self.config.portfolio.symbols
        closed = [
            _bar(symbol, self.day - timedelta(days=back), BarState.CLOSED)
            for back in range(6, 0, -1)
            for symbol in symbols
        ]
        return [*closed, *(_bar(symbol, self.day, BarState.OPEN) for symbol in symbols)]

    def day_open(self) -> DayOpen:
        """Return the day's open of an account."""
        return DayOpen(
            day=self.day, taken_at_ms=self.now_ms, equity=_EQUITY, wallet_balance=_EQUITY, net_deposits=Decimal(0)
        )


def live_market(symbols: Sequence[str], accounts: Sequence[str] = ("main",)) -> LiveMarket:
    """Return the market of these symbols and accounts, on a day that began some hours ago."""
    now = datetime.now(tz=UTC)
    config = BreakwaterConfig.parse(
        {
            "portfolio": {"symbols": list(symbols), "accounts": list(accounts)},
            "session": {"start": time((now.hour - _HOURS_UNDER_WAY) % 24).isoformat()},
            "risk": {"entry_valid_for": 3600},
        }
    )
    now_ms = round(now.timestamp() * 1000)
    return LiveMarket(config, config.session.session().day_of(now_ms), now_ms)


def symbol_names(count: int) -> list[str]:
    """Return names of symbols, as long as real ones."""
    return [f"S{number:03d}USDT" for number in range(count)]


def _bar(symbol: str, day: date, state: BarState) -> DailyBar:
    high, low = QUIET_PRICE + _RANGE / 2, QUIET_PRICE - _RANGE / 2
    return DailyBar(symbol, day, state, QUIET_PRICE, high, low, QUIET_PRICE, 1.0, complete=True)
