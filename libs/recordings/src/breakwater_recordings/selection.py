"""What a run takes from a recording: which days it plays, and the price by which unknown symbols get their rules."""

from datetime import date

from breakwater_core.config import StrategySettings
from breakwater_core.errors import InvalidInputError
from breakwater_recordings.recording import Recording

_WARM_UP_MARGIN_DAYS = 2


def warm_up_days(strategy: StrategySettings) -> int:
    """Return how many days before the first are read for their bars: as many as the strategy looks back, and a few."""
    return max(strategy.ma_window, strategy.noise_days or 0) + _WARM_UP_MARGIN_DAYS


def played_days(recording: Recording, start: date | None, end: date | None) -> tuple[date, date]:
    """Return the first and last day to play: days that are complete for a symbol, within the range asked for.

    Args:
        recording: Where the trades are.
        start: First day wanted; None: from the beginning.
        end: Last day wanted, included; None: to the end.

    Raises:
        InvalidInputError: If no day in the range is complete for any symbol.
    """
    days = sorted({day for symbol in recording.symbols for day in recording.complete_days(symbol)})
    chosen = [day for day in days if (start is None or day >= start) and (end is None or day <= end)]
    if not chosen:
        held = f"{days[0]} to {days[-1]}" if days else "none"
        raise InvalidInputError(
            f"no complete day between {start or 'the beginning'} and {end or 'the end'}; complete days: {held}"
        )
    return chosen[0], chosen[-1]


def first_prices(recording: Recording) -> dict[str, float]:
    """Return each symbol's first recorded price, by which the paper exchange sets rules that it does not know."""
    first = {symbol: recording.reader(symbol).peek(recording.last_ms + 1) for symbol in recording.symbols}
    return {symbol: trade[1] for symbol, trade in first.items() if trade is not None}
