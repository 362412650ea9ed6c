"""Long bars walked in straight lines, so that a target inside a bar is met near its price and not at the bar's far end.

A bar becomes four trades: open, one extreme, the other one, close. On hour bars the first trade beyond a target is then
the extreme of the hour, often far beyond it, and a backtest pays for a gap that the market did not have. Here each leg
of the same path is cut into equal steps of price and time. Nothing is known that the four prices do not say; that the
prices between them were passed one after the other is an assumption, and high and low keep the order of the path.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_recordings.klines import TRADES_PER_BAR, Bars, trades_of_bars
from breakwater_recordings.parts import RecordedPart
from breakwater_recordings.recording import Recording

LEGS = 3
"""From open over two extremes to close."""

_BARS_AT_A_TIME = 2_048


def in_straight_lines(recording: Recording, *, steps_per_leg: int) -> Recording:
    """Return a recording of candles whose every bar is cut into `3 * steps_per_leg` bars along its path.

    Args:
        recording: Made of candles whose span is a multiple of the number of pieces, in milliseconds.
        steps_per_leg: Steps from one of the four prices to the next, at least 1.

    Raises:
        InvalidInputError: If the number of steps is below 1, or the recording is not made of candles.
    """
    if steps_per_leg < 1:
        raise InvalidInputError(f"steps_per_leg must be at least 1, was {steps_per_leg}")
    parts = [part for symbol in recording.symbols for part in recording.parts_of(symbol)]
    return Recording([_cut(part, steps_per_leg) for part in parts], session=recording.session)


def span_of(recording: Recording) -> int:
    """Return the span of a recording's bars, milliseconds.

    Raises:
        InvalidInputError: If it is not made of candles of one span.
    """
    spans = {_span(part) for symbol in recording.symbols for part in recording.parts_of(symbol) if part.trades}
    if len(spans) != 1:
        raise InvalidInputError("the recording does not hold bars of one span; give candles")
    return spans.pop()


def _span(part: RecordedPart) -> int:
    batch = next(part.read(part.start_ms))
    return _span_of_batch(part, batch)


def _span_of_batch(part: RecordedPart, batch: TradeBatch) -> int:
    if len(batch) % TRADES_PER_BAR:
        raise InvalidInputError(f"{part.path} ({part.symbol}) holds trades, no candles; give candles")
    return TRADES_PER_BAR * int(batch.times_ms[1] - batch.times_ms[0])


def _cut(part: RecordedPart, steps_per_leg: int) -> RecordedPart:
    pieces = LEGS * steps_per_leg

    def read(from_ms: int) -> Iterator[TradeBatch]:
        for batch in part.read(from_ms):
            for start in range(0, len(batch), _BARS_AT_A_TIME * TRADES_PER_BAR):
                stop = start + _BARS_AT_A_TIME * TRADES_PER_BAR
                yield trades_of_bars(_pieces(part, batch, slice(start, stop), steps_per_leg))

    return replace(part, trades=part.trades * pieces, read=read)


def _pieces(part: RecordedPart, batch: TradeBatch, rows: slice, steps_per_leg: int) -> Bars:
    """Return the bars along the paths of some bars, which the rows of the batch are the four trades of."""
    span_ms, pieces = _span_of_batch(part, batch), LEGS * steps_per_leg
    if span_ms % (pieces * TRADES_PER_BAR):
        raise InvalidInputError(f"{part.path}: bars of {span_ms} ms cannot be cut into {pieces} equal pieces")
    corners = batch.prices[rows].reshape(-1, TRADES_PER_BAR)
    starts_ms = batch.times_ms[rows].reshape(-1, TRADES_PER_BAR)[:, :1]
    shares = np.arange(steps_per_leg) / steps_per_leg
    legs = corners[:, :-1, np.newaxis] + np.diff(corners, axis=1)[:, :, np.newaxis] * shares
    knots = np.concatenate([legs.reshape(len(corners), -1), corners[:, -1:]], axis=1)
    opens, closes = knots[:, :-1].reshape(-1), knots[:, 1:].reshape(-1)
    times_ms = (starts_ms + np.arange(pieces, dtype=np.int64) * (span_ms // pieces)).reshape(-1)
    return Bars(
        symbol=part.symbol,
        step_ms=span_ms // pieces,
        open_times_ms=times_ms,
        opens=opens,
        highs=np.maximum(opens, closes),
        lows=np.minimum(opens, closes),
        closes=closes,
        volumes=np.ones(opens.size),
    )
