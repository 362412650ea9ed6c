"""The same days on bars of different spans: how much of a result comes from not knowing what happened within a bar."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig
from breakwater_core.session import Session
from breakwater_recordings.recording import Recording
from breakwater_research.bars.bar_table import BarTable, open_bar_table
from breakwater_research.bars.sweep import sweep_trades
from breakwater_research.study.candle_files import CandleFolder, joined
from breakwater_research.study.straight_lines import in_straight_lines
from breakwater_research.study.variants import changed

FINE_STEPS = 5
"""Steps per leg of the finer bars."""


Gaps = NDArray[np.float64]


@dataclass(frozen=True)
class SymbolDays:
    """Trades of one symbol on its own over some days, on two kinds of bars.

    Attributes:
        symbol: Venue symbol.
        days: Days compared: complete in both, with a complete history before them.
        first_day: First of them.
        last_day: Last of them.
        trades: Trades on the coarse and on the fine bars.
        same_side: Days on which both traded the same side.
        other_side: Days on which they traded different sides.
        results: Summed net return per unit of notional, coarse and fine.
        entry_gaps_bps: Per trade how far beyond its target the entry was triggered, coarse and fine, basis points.
        daily: Shape (n_days, 2): net return per unit of notional and day, coarse and fine.
    """

    symbol: str
    days: int
    first_day: date
    last_day: date
    trades: tuple[int, int]
    same_side: int
    other_side: int
    results: tuple[float, float]
    entry_gaps_bps: tuple[Gaps, Gaps]
    daily: NDArray[np.float64]


@dataclass(frozen=True)
class SpanComparison:
    """One way to walk coarse bars against finer bars, over every symbol and day that has both."""

    coarse: str
    fine: str
    symbols: tuple[SymbolDays, ...]

    @property
    def symbol_days(self) -> int:
        """Days compared, summed over the symbols."""
        return sum(one.days for one in self.symbols)

    @property
    def trades(self) -> tuple[int, int]:
        """Trades, coarse and fine."""
        return sum(one.trades[0] for one in self.symbols), sum(one.trades[1] for one in self.symbols)

    @property
    def same_side_share(self) -> float:
        """Days with the same trade as a share of the days on which either traded."""
        same = sum(one.same_side for one in self.symbols)
        either = sum(self.trades) - same - sum(one.other_side for one in self.symbols)
        return same / either if either else float("nan")

    @property
    def other_side(self) -> int:
        """Days on which the two traded different sides."""
        return sum(one.other_side for one in self.symbols)

    @property
    def result_per_trade_bps(self) -> tuple[float, float]:
        """Mean net result of a trade, coarse and fine, basis points of its notional."""
        coarse, fine = (sum(one.results[side] for one in self.symbols) for side in (0, 1))
        trades = self.trades
        return coarse / max(1, trades[0]) * 1e4, fine / max(1, trades[1]) * 1e4

    @property
    def entry_gap_bps(self) -> tuple[float, float]:
        """Median distance of entries from their targets, coarse and fine, basis points, against the trader."""
        coarse, fine = (np.concatenate([one.entry_gaps_bps[side] for one in self.symbols]) for side in (0, 1))
        return _median(coarse), _median(fine)

    @property
    def correlation(self) -> float:
        """Correlation of the daily results, over all symbols and days."""
        pairs = np.concatenate([one.daily for one in self.symbols])
        return float(np.corrcoef(pairs.T)[0, 1]) if np.ptp(pairs, axis=0).min() > 0 else float("nan")


def compare_spans(
    coarse: BarTable,
    folder: CandleFolder,
    *,
    fine_span_ms: int,
    names: tuple[str, str],
    config: BreakwaterConfig,
    is_cut: bool,
) -> SpanComparison | None:
    """Return how coarse bars and finer bars of the same symbols differ; None if no day has both.

    Each symbol is traded on its own at 1x, so that one that lacks data does not change the size of another.

    Args:
        coarse: Bars of several symbols.
        folder: Where the finer bars are.
        fine_span_ms: Their span, milliseconds.
        names: Names of the coarse and the fine bars.
        config: Strategy, costs and session.
        is_cut: Whether the finer bars are walked in straight lines too.

    Raises:
        InvalidInputError: If the data are damaged.
    """
    session = config.session.session()
    series = folder.of(fine_span_ms, coarse.symbols)
    if not series:
        return None
    recording, _ = joined(series, session)
    if is_cut:
        recording = in_straight_lines(recording, steps_per_leg=FINE_STEPS)
    found = [
        one
        for symbol in recording.symbols
        if (one := _compare_symbol(coarse, recording, session, symbol, config)) is not None
    ]
    return SpanComparison(names[0], names[1], tuple(found)) if found else None


def _compare_symbol(
    coarse: BarTable, recording: Recording, session: Session, symbol: str, config: BreakwaterConfig
) -> SymbolDays | None:
    alone = changed(config, {"portfolio.symbols": [symbol], "portfolio.gross_leverage": "1"})
    fine = open_bar_table(Recording(recording.parts_of(symbol), session=session), session)
    warm_up = max(config.strategy.ma_window, config.strategy.noise_days or 0) + 1
    days = _shared_days(coarse, fine, symbol, warm_up)
    if not days:
        return None
    first, last = days[0], days[-1]
    kept = {(day - date(1970, 1, 1)).days for day in days}
    pair = [
        trades[trades["day"].isin(kept)]
        for trades in (
            _with_day_numbers(sweep_trades(table, alone, first_day=first, last_day=last)) for table in (coarse, fine)
        )
    ]
    sides = pair[0].merge(pair[1], on="day", suffixes=("_coarse", "_fine"))
    same = int((sides["side_coarse"] == sides["side_fine"]).sum())
    results = [trades["net_return"] / trades["quantity_share"] for trades in pair]
    numbers = sorted(kept)
    daily = np.stack(
        [
            result.groupby(trades["day"]).sum().reindex(numbers, fill_value=0.0).to_numpy(dtype=np.float64)
            for trades, result in zip(pair, results, strict=True)
        ],
        axis=1,
    )
    return SymbolDays(
        symbol=symbol,
        days=len(days),
        first_day=first,
        last_day=last,
        trades=(len(pair[0]), len(pair[1])),
        same_side=same,
        other_side=len(sides) - same,
        results=(float(results[0].sum()), float(results[1].sum())),
        entry_gaps_bps=(_entry_gaps_bps(pair[0]), _entry_gaps_bps(pair[1])),
        daily=daily,
    )


def _shared_days(coarse: BarTable, fine: BarTable, symbol: str, warm_up: int) -> list[date]:
    """Return the days that both tables have whole, with as many whole days before them as the strategy looks back."""
    in_coarse = dict(zip(coarse.days, coarse.complete[coarse.index_of(symbol)], strict=True))
    shared = [
        bool(is_complete) and bool(in_coarse.get(day, False))
        for day, is_complete in zip(fine.days, fine.complete[fine.index_of(symbol)], strict=True)
    ]
    return [day for index, day in enumerate(fine.days) if index >= warm_up and all(shared[index - warm_up : index + 1])]


def _with_day_numbers(trades: pd.DataFrame) -> pd.DataFrame:
    """Return the trades with days as numbers since 1970-01-01."""
    return trades.assign(day=trades["day"].to_numpy().astype("datetime64[D]").astype(np.int64))


def _entry_gaps_bps(trades: pd.DataFrame) -> Gaps:
    """Return how far beyond its target each entry was triggered, basis points."""
    gaps = trades["side"] * (trades["trigger_price"] / trades["target_price"] - 1) * 1e4
    return gaps.to_numpy(dtype=np.float64)


def _median(values: Gaps) -> float:
    return float(np.median(values)) if values.size else float("nan")
