"""The exact backtest: every recorded trade through the strategy class that runs live, without bus or processes.

It does what a replay does and gives the same report, to the last byte, apart from the wall-clock figures: the same
decisions (`PortfolioStrategy`, intents, outcomes), sizing, risk rules, fills, fees, funding, margin and daily rows, all
from `breakwater_core`. docs/architecture.md names what the two share and what only one of them has.
"""

from datetime import date

from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import DailyBar
from breakwater_core.portfolio import PortfolioStrategy
from breakwater_core.report import Report
from breakwater_recordings.daily_bars import DailyBarBuilder, bars_before
from breakwater_recordings.recording import Recording, Window
from breakwater_recordings.selection import warm_up_days
from breakwater_research.cost_records import NO_RECORDS, CostRecords
from breakwater_research.event_backtest import DayWatcher, EventBacktest, run_events
from breakwater_research.simulated_market import SimulatedMarket

__all__ = ["DayWatcher", "run_tick_backtest"]


def run_tick_backtest(
    recording: Recording,
    config: BreakwaterConfig,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    run_id: str | None = None,
    on_day: DayWatcher | None = None,
    records: CostRecords = NO_RECORDS,
) -> Report:
    """Return the report of a backtest over recorded trades, equal to that of a replay of the same.

    Args:
        recording: The trades; opened with the configuration's session and, if it names any, its symbols.
        config: Settings of the run; without symbols those of the recording are traded.
        first_day: First day wanted; None: the first complete one.
        last_day: Last day wanted, included; None: the last complete one.
        run_id: Id of the run; None: that of a replay with the same inputs.
        on_day: Is told of each day that is done.
        records: Recorded funding and spreads in place of the configuration's constants. They are part of the run's id,
            and the counters then say how often a constant was charged all the same.

    Raises:
        InvalidInputError: If no complete day is in the range, a configured symbol is not recorded, or the recording is
            damaged.
        InvariantError: If a position cannot be closed, or the books disagree.
    """
    return run_events(
        lambda config, identity, first, last: _TickBacktest(
            recording, config, run_id=identity, first_day=first, last_day=last, records=records
        ),
        recording,
        config,
        first_day=first_day,
        last_day=last_day,
        run_id=run_id,
        on_day=on_day,
        records=records,
    )


class _TickBacktest(EventBacktest):
    """One run."""

    def __init__(
        self,
        recording: Recording,
        config: BreakwaterConfig,
        *,
        run_id: str,
        first_day: date,
        last_day: date,
        records: CostRecords,
    ) -> None:
        session = config.session.session()
        self._recording = recording
        self._warm_up_days = warm_up_days(config.strategy)
        self._strategy = PortfolioStrategy(config, config.portfolio.symbols)
        self._bars = DailyBarBuilder(session, is_complete=recording.is_complete)
        super().__init__(
            config,
            run_id=run_id,
            first_day=first_day,
            market=SimulatedMarket(
                recording, start_ms=session.day_start_ms(first_day), end_ms=session.day_end_ms(last_day)
            ),
            decisions=self._strategy,
            records=records,
        )

    def _begin(self) -> None:
        self._feed_bars(bars_before(self._recording, self._first_day, days=self._warm_up_days))

    def _take(self, window: Window) -> None:
        self.trades += len(window)
        for batch in window.batches:
            self._feed_bars(self._bars.feed(batch))
            self._strategy.feed_trades(batch)

    def _end_day(self, now_ms: int) -> None:
        self._feed_bars(self._bars.close_until(now_ms))

    def _feed_bars(self, bars: list[DailyBar]) -> None:
        for bar in bars:
            self._strategy.feed_bar(bar)
