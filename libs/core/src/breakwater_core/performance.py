"""Daily performance: growth factor, cumulative, drawdown and maximum drawdown, and slippage in basis points.

    ror[t] = (equity[t] - net deposits[t]) / equity[t-1]      cumulative[t] = product of ror
    drawdown[t] = 1 - cumulative[t] / max(1, cumulative[1..t])      mdd[t] = max of drawdown[1..t]

Each figure is computed with 50 digits and rounded to 12 decimals, half to even, and the next one is computed from the
rounded one. So each row follows from the row before it, and a series resumed from stored rows goes on unchanged.
"""

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from breakwater_core.decimals import MONEY
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import DailyPerformance, Side

RATIO_STEP = Decimal("1E-12")
"""Ratios are rounded to this."""
SLIPPAGE_STEP = Decimal("1E-4")
"""Slippage in basis points is rounded to this."""

_ONE = Decimal(1)


def _rounded(value: Decimal, step: Decimal = RATIO_STEP) -> Decimal:
    return value.quantize(step, rounding=ROUND_HALF_EVEN, context=MONEY)


def growth_factor(*, equity: Decimal, net_deposits: Decimal, equity_before: Decimal) -> Decimal:
    """Return ror: (equity - net deposits) / equity the day before; 1.01 is a gain of 1 %.

    An account that lost more than it had grew by the factor 0. One that had nothing and gained or lost nothing grew by
    the factor 1.

    Args:
        equity: At the day's end, quote currency.
        net_deposits: Deposits - withdrawals during the day: not a return.
        equity_before: At the end of the day before.

    Raises:
        InvalidInputError: If the day began at or below zero and something was gained or lost: no ratio says how much.
    """
    kept = MONEY.subtract(equity, net_deposits)
    if equity_before <= 0:
        if kept == equity_before:
            return _rounded(_ONE)
        raise InvalidInputError(
            f"equity at the previous day's end was {equity_before}, so a result of {kept} has no rate of return; "
            "start a new series once the account has equity"
        )
    return _rounded(max(MONEY.divide(kept, equity_before), Decimal(0)))


def growth_and_peak(
    *, equity: Decimal, net_deposits: Decimal, equity_before: Decimal, cumulative: Decimal, peak: Decimal
) -> tuple[Decimal, Decimal]:
    """Return the cumulative growth and its peak at a day's open, not rounded: what a drawdown stop counts from.

    A day that opened without equity has no return and leaves both as they were.

    Args:
        equity: At this day's open, quote currency.
        net_deposits: Deposits - withdrawals since the day open before; they are no gain.
        equity_before: At the day open before.
        cumulative: Product of the growth factors up to the day open before.
        peak: Largest such product up to then, at least 1.
    """
    if equity_before <= 0:
        return cumulative, peak
    growth = MONEY.divide(MONEY.subtract(equity, net_deposits), equity_before)
    grown = MONEY.multiply(cumulative, max(growth, Decimal(0)))
    return grown, max(peak, grown)


class PerformanceSeries:
    """Daily performance of one run and account, one day after the other.

    Args:
        run_id: Written in each row.
        account: Written in each row.
        initial_equity: Equity before the first day, quote currency, above 0.

    Raises:
        InvalidInputError: If the initial equity is not above 0.
    """

    def __init__(self, *, run_id: str, account: str, initial_equity: Decimal) -> None:
        if not initial_equity > 0:
            raise InvalidInputError(f"initial_equity must be above 0, was {initial_equity}")
        self._run_id = run_id
        self._account = account
        self._equity = initial_equity
        self._cumulative = _ONE
        self._peak = _ONE
        self._mdd = Decimal(0)
        self._last: DailyPerformance | None = None

    @property
    def last(self) -> DailyPerformance | None:
        """Row of the last day closed."""
        return self._last

    @property
    def cumulative(self) -> Decimal:
        """Product of the growth factors so far; 1 before the first day."""
        return self._cumulative

    @property
    def peak(self) -> Decimal:
        """Largest cumulative so far, at least 1."""
        return self._peak

    def close_day(
        self, day: date, equity: Decimal, net_deposits: Decimal, *, orders: int = 0, fills: int = 0
    ) -> DailyPerformance:
        """Close the day and return its row. The last day once more with the same figures returns the same row.

        Args:
            day: Later than every day before.
            equity: At the day's end, quote currency.
            net_deposits: Deposits - withdrawals during the day.
            orders: Orders of the day.
            fills: Fills of the day.

        Raises:
            InvalidInputError: If the day is not later than the last one, or has no rate of return (`growth_factor`).
            InvariantError: If the last day comes again with other figures.
        """
        last = self._last
        if last is not None and day <= last.day:
            return self._repeated(last, day, equity, net_deposits)
        ror = growth_factor(equity=equity, net_deposits=net_deposits, equity_before=self._equity)
        cumulative = _rounded(MONEY.multiply(self._cumulative, ror))
        peak = max(self._peak, cumulative)
        drawdown = _rounded(MONEY.subtract(_ONE, MONEY.divide(cumulative, peak)))
        self._equity, self._cumulative, self._peak = equity, cumulative, peak
        self._mdd = max(self._mdd, drawdown)
        self._last = DailyPerformance(
            run_id=self._run_id,
            account=self._account,
            day=day,
            equity=equity,
            net_deposits=net_deposits,
            ror=ror,
            cumulative=cumulative,
            drawdown=drawdown,
            mdd=_rounded(self._mdd),
            orders=orders,
            fills=fills,
        )
        return self._last

    def resume(self, rows: Iterable[DailyPerformance]) -> None:
        """Go on after stored rows, oldest first; each is computed again and compared.

        Raises:
            InvariantError: If a stored row is not what its figures give.
            InvalidInputError: As in `close_day`.
        """
        for row in rows:
            again = self.close_day(row.day, row.equity, row.net_deposits, orders=row.orders, fills=row.fills)
            if again != row:
                raise InvariantError(f"the stored row of {row.day} is {row}, but its figures give {again}")

    def _repeated(self, last: DailyPerformance, day: date, equity: Decimal, net_deposits: Decimal) -> DailyPerformance:
        if day < last.day:
            raise InvalidInputError(f"{day} is already closed: the series stands at {last.day}")
        if (equity, net_deposits) != (last.equity, last.net_deposits):
            raise InvariantError(
                f"{day} was closed with equity {last.equity} and net deposits {last.net_deposits}, and now comes with "
                f"{equity} and {net_deposits}"
            )
        return last


def slippage_bps(side: Side, average_price: Decimal, target_price: Decimal) -> Decimal:
    """Return how much worse than the target the fills were, basis points, 4 decimals; negative is better.

    Args:
        side: Side of the order.
        average_price: Of its fills, quote currency.
        target_price: Above 0.

    Raises:
        InvalidInputError: If the target is not above 0.
    """
    if not target_price > 0:
        raise InvalidInputError(f"target_price must be above 0, was {target_price}")
    worse = MONEY.multiply(MONEY.subtract(average_price, target_price), Decimal(10_000 * side.sign))
    return _rounded(MONEY.divide(worse, target_price), SLIPPAGE_STEP)
