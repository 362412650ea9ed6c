"""Parts: the trades of one symbol in one file, whatever its format, and the checks that all formats share."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_recordings.coverage import Interval

DEFAULT_MAX_SILENCE_MS = 30 * 60_000
"""Longest pause between two trades that is taken for a quiet market and not for missing data, milliseconds."""


@dataclass(frozen=True, slots=True)
class RecordedPart:
    """The trades of one symbol in one file.

    Attributes:
        path: The file.
        symbol: Venue symbol.
        start_ms: Earliest instant of which there is data.
        last_ms: Latest instant of which there is data.
        trades: Number of trades.
        covered: Intervals in which nothing is missing.
        may_share_last_ms: Whether the symbol's next part may have trades of `last_ms` too, as after a restart.
        observed: Whether coverage was only inferred from the trades, so that a short pause to the next part counts
            as covered too.
        read: Returns the trades in order, in chunks that are never empty; may leave out those before its argument.
        notes: What was done to the file's contents, one line each, for the log.
        step_ms: Span of a bar if the trades stand for candles; None if they are trades.
    """

    path: Path
    symbol: str
    start_ms: int
    last_ms: int
    trades: int
    covered: tuple[Interval, ...]
    may_share_last_ms: bool
    observed: bool
    read: Callable[[int], Iterator[TradeBatch]]
    notes: tuple[str, ...] = ()
    step_ms: int | None = None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, hexadecimal.

    Raises:
        InvalidInputError: If the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from error


def first_fault(batch: TradeBatch) -> tuple[int, str] | None:
    """Return index and description of the first trade that breaks the rules of `TradeBatch`, or None."""
    tests = (
        (np.isfinite(batch.prices) & (batch.prices > 0), "price must be finite and above 0", batch.prices),
        (np.isfinite(batch.sizes) & (batch.sizes >= 0), "size must be finite and not negative", batch.sizes),
        (np.abs(batch.taker_sides) <= 1, "taker side must be -1, 0 or 1", batch.taker_sides),
    )
    for good, rule, values in tests:
        if not good.all():
            index = int(np.argmin(good))
            return index, f"{rule}, was {values[index]}"
    falls = batch.times_ms[1:] < batch.times_ms[:-1]
    if falls.any():
        index = int(np.argmax(falls)) + 1
        return index, f"time {batch.times_ms[index]} is before that of the row above, {batch.times_ms[index - 1]}"
    return None


def observed_intervals(times_ms: NDArray[np.int64], max_silence_ms: int) -> tuple[Interval, ...]:
    """Return the spans from first to last trade, cut where the pause between two trades exceeds `max_silence_ms`.

    Args:
        times_ms: Shape (n_trades,), never falling, at least one.
        max_silence_ms: Longest pause that counts as covered.
    """
    ends = np.flatnonzero(np.diff(times_ms) > max_silence_ms)
    starts_ms = times_ms[np.r_[0, ends + 1]]
    ends_ms = times_ms[np.r_[ends, times_ms.size - 1]] + 1
    return tuple(zip(starts_ms.tolist(), ends_ms.tolist(), strict=True))
