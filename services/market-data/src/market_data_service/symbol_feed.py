"""The live trades of one symbol: each published once and in order, gaps filled, or known as unfilled.

Pure state; `gap_filling` does the asking. Times are milliseconds since 1970-01-01T00:00Z (exchange time), sizes base
units.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breakwater_bybit.model import PublicTrades
from breakwater_core.market import TradeBatch

MINUTE_MS = 60_000
_IDS_KEPT = 4096
_MINUTES_KEPT = 180
_VOLUME_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of time of which trades may be missing: after the last known trade, before the next known one."""

    after_ms: int
    before_ms: int


@dataclass(frozen=True, slots=True)
class Released:
    """What a feed publishes after a gap.

    Attributes:
        recovered: Trades that the exchange was asked for; None if there were none.
        held: What came over the stream meanwhile.
    """

    recovered: TradeBatch | None
    held: tuple[TradeBatch, ...]

    @property
    def batches(self) -> tuple[TradeBatch, ...]:
        """All batches, oldest first."""
        return self.held if self.recovered is None else (self.recovered, *self.held)


@dataclass(slots=True)
class Dropped:
    """Trades that were not published, counted by reason."""

    duplicate: int = 0
    late: int = 0
    block: int = 0


class SymbolFeed:
    """Trades of one symbol on their way from the exchange to the bus."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.last_ms: int | None = None
        """Time of the newest trade published; None before the first."""
        self.covered_from_ms: int | None = None
        """Start of the present stretch without missing trades; None before the feed was first connected."""
        self.dropped = Dropped()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._last_trades: Counter[tuple[float, float]] = Counter()
        self._volumes: OrderedDict[int, float] = OrderedDict()
        self._held: list[PublicTrades] | None = None

    @property
    def is_held(self) -> bool:
        """Whether frames are being held back while a gap is filled."""
        return self._held is not None

    def restore(self, batch: TradeBatch) -> None:
        """Take over what an earlier process published last; the trades' ids are not known."""
        if len(batch):
            self._remember(batch)

    def connected(self, now_ms: int) -> None:
        """State that the stream delivers from now on; only the first connection of a new feed begins a stretch."""
        if self.covered_from_ms is None:
            self.covered_from_ms = now_ms if self.last_ms is None else self.last_ms

    def received(self, trades: PublicTrades) -> TradeBatch | None:
        """Take in a frame; return what is to be published of it, None if nothing or while frames are held back."""
        if self._held is not None:
            self._held.append(trades)
            return None
        return self._take(trades)

    def hold(self) -> bool:
        """Begin to hold back frames; False if they are already."""
        if self._held is not None:
            return False
        self._held = []
        return True

    def gap_before(self, recent: PublicTrades) -> Gap | None:
        """Return what the exchange's recent trades do not reach back to; None if they join on to what is known.

        Args:
            recent: The newest trades up to some moment after frames began to be held back, none left out.
        """
        if self.last_ms is None:
            return None
        times_ms = recent.batch.times_ms
        if not len(recent):
            return Gap(self.last_ms, self.last_ms + 1)
        if times_ms[0] < self.last_ms or any(ident in self._ids for ident in recent.trade_ids):
            return None
        if times_ms[0] == self.last_ms and self._holds_a_known_trade(recent):
            return None
        return Gap(self.last_ms, int(times_ms[0]))

    def is_proved_whole(self, gap: Gap, recent: PublicTrades, minute_volumes: Mapping[int, float]) -> bool:
        """Return whether the exchange's volumes show that nothing was traded in the gap.

        They do if in each minute that the gap touches the exchange counts as much as is known here.

        Args:
            gap: As `gap_before` returned it.
            recent: As given to `gap_before`.
            minute_volumes: Per start of a minute, the base units that the exchange counts.
        """
        known = dict(self._volumes)
        batch = recent.batch
        for minute, size in zip((batch.times_ms // MINUTE_MS).tolist(), batch.sizes.tolist(), strict=True):
            known[minute] = known.get(minute, 0.0) + size
        for minute in range(gap.after_ms // MINUTE_MS, gap.before_ms // MINUTE_MS + 1):
            stated = minute_volumes.get(minute * MINUTE_MS)
            if stated is None or abs(stated - known.get(minute, 0.0)) > _VOLUME_TOLERANCE * max(1.0, stated):
                return False
        return True

    def release(self, recent: PublicTrades | None, *, gap: Gap | None) -> Released:
        """Return what is to be published after a gap, and hold back no longer.

        Args:
            recent: What the exchange returned; None if it did not answer.
            gap: What stays unfilled; None if nothing does.
        """
        held, self._held = self._held or [], None
        recovered: TradeBatch | None = None
        if recent is not None and self.last_ms is not None:
            self._note_ids_of(recent)
            recovered = self._take(_selected(recent, recent.batch.times_ms >= self.last_ms))
        batches = tuple(batch for trades in held if (batch := self._take(trades)) is not None)
        if gap is not None:
            self.covered_from_ms = gap.before_ms
        return Released(recovered, batches)

    def first_held_ms(self) -> int | None:
        """Return the time of the first trade held back, None if there is none."""
        return next((int(trades.batch.times_ms[0]) for trades in self._held or () if len(trades)), None)

    def _holds_a_known_trade(self, recent: PublicTrades) -> bool:
        batch = recent.batch
        return any(
            (price, size) in self._last_trades
            for time, price, size in zip(batch.times_ms, batch.prices.tolist(), batch.sizes.tolist(), strict=True)
            if time == self.last_ms
        )

    def _note_ids_of(self, recent: PublicTrades) -> None:
        """Learn the ids of trades of the newest millisecond that are known by price and size only."""
        batch = recent.batch
        of_last = [
            (recent.trade_ids[index], (float(batch.prices[index]), float(batch.sizes[index])))
            for index in np.flatnonzero(batch.times_ms == self.last_ms)
        ]
        unnamed = self._last_trades - Counter(trade for ident, trade in of_last if ident in self._ids)
        named: list[str] = []
        for ident, trade in of_last:
            if not unnamed:
                break
            if ident not in self._ids:
                named.append(ident)
                unnamed -= Counter([trade])
        if not unnamed:  # all were met: the exchange lists trades in order, so those before them are known as well
            self._ids.update(dict.fromkeys(named))

    def _take(self, trades: PublicTrades) -> TradeBatch | None:
        new = [self._is_new(trades, index) for index in range(len(trades))]
        if not any(new):
            return None
        if not all(new):
            trades = _selected(trades, np.array(new))
        self._remember(trades.batch)
        return trades.batch

    def _is_new(self, trades: PublicTrades, index: int) -> bool:
        ident = trades.trade_ids[index]
        if ident in self._ids:
            self.dropped.duplicate += 1
            return False
        self._ids[ident] = None
        if len(self._ids) > _IDS_KEPT:
            self._ids.popitem(last=False)
        if trades.are_block[index]:  # agreed off the book: its price is not the market's
            self.dropped.block += 1
            return False
        if self.last_ms is not None and trades.batch.times_ms[index] < self.last_ms:
            self.dropped.late += 1
            return False
        return True

    def _remember(self, batch: TradeBatch) -> None:
        last_ms = int(batch.times_ms[-1])
        if last_ms != self.last_ms:
            self._last_trades.clear()
        self.last_ms = last_ms
        for time_ms, price, size in _rows(batch):
            if time_ms == last_ms:
                self._last_trades[price, size] += 1
            minute = time_ms // MINUTE_MS
            self._volumes[minute] = self._volumes.get(minute, 0.0) + size
        while len(self._volumes) > _MINUTES_KEPT:
            self._volumes.popitem(last=False)


def _selected(trades: PublicTrades, keep: NDArray[np.bool_]) -> PublicTrades:
    batch = trades.batch
    return PublicTrades(
        batch=TradeBatch(
            batch.symbol, batch.times_ms[keep], batch.prices[keep], batch.sizes[keep], batch.taker_sides[keep]
        ),
        trade_ids=tuple(ident for ident, is_kept in zip(trades.trade_ids, keep, strict=True) if is_kept),
        are_block=trades.are_block[keep],
    )


def _rows(batch: TradeBatch) -> Iterable[tuple[int, float, float]]:
    return zip(batch.times_ms.tolist(), batch.prices.tolist(), batch.sizes.tolist(), strict=True)
