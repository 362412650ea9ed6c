"""The exact backtest: every recorded trade through the strategy class that runs live, without bus or processes.

It does what a replay does and gives the same report, to the last byte, apart from the wall-clock figures: the same
decisions (`PortfolioStrategy`, intents, outcomes), sizing, risk rules, fills, fees, funding, margin and daily rows, all
from `breakwater_core`. docs/architecture.md names what the two share and what only one of them has.
"""

import time
from collections.abc import Callable
from datetime import date

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import OrderEvent
from breakwater_core.identities import replay_run_id
from breakwater_core.intents import IntentFactory, Outcome, OutcomeBook, key_of_decision
from breakwater_core.market import DailyBar
from breakwater_core.portfolio import Decision, PortfolioStrategy
from breakwater_core.report import Report, build_report
from breakwater_recordings.daily_bars import DailyBarBuilder, bars_before
from breakwater_recordings.recording import Recording, Window
from breakwater_recordings.selection import played_days, warm_up_days
from breakwater_research.cost_records import NO_RECORDS, CostRecords
from breakwater_research.simulated_account import SimulatedAccount, record_counters
from breakwater_research.simulated_executor import SimulatedExecutor
from breakwater_research.simulated_market import SimulatedMarket

DayWatcher = Callable[[date, int], None]
"""Is told of each day that is done, with the number of trades so far."""


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
    started_s = time.perf_counter()
    if not config.portfolio.symbols:
        portfolio = config.portfolio.model_copy(update={"symbols": recording.symbols})
        config = config.model_copy(update={"portfolio": portfolio})
    if set(config.portfolio.symbols) != set(recording.symbols):
        raise InvalidInputError(
            f"the recording holds {', '.join(recording.symbols)}, the portfolio {', '.join(config.portfolio.symbols)}; "
            "open the recording with portfolio.symbols"
        )
    first, last = played_days(recording, first_day, last_day)
    identity = run_id or replay_run_id(
        fingerprint=records.joined_to(recording.fingerprint),
        strategy_version=config.version,
        first_day=first,
        last_day=last,
    )
    backtest = _TickBacktest(recording, config, run_id=identity, first_day=first, last_day=last, records=records)
    backtest.run(on_day)
    report = build_report(
        run_id=identity,
        config=config.as_values(),
        outcomes=backtest.outcomes,
        fills=[fill for executor in backtest.executors.values() for fill in executor.account.fills],
        days=[day for executor in backtest.executors.values() for day in executor.days],
        trades=backtest.trades,
        wall_seconds=time.perf_counter() - started_s,
    )
    report["counters"].update(record_counters(records, [executor.account for executor in backtest.executors.values()]))
    return report


class _TickBacktest:
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
        self._recording = recording
        self._config = config
        self._session = config.session.session()
        self._first_day = first_day
        self._start_ms = self._session.day_start_ms(first_day)
        self._market = SimulatedMarket(recording, start_ms=self._start_ms, end_ms=self._session.day_end_ms(last_day))
        self._strategy = PortfolioStrategy(config, config.portfolio.symbols)
        self._bars = DailyBarBuilder(self._session, is_complete=recording.is_complete)
        self._intents = IntentFactory(run_id, config, len(config.portfolio.symbols))
        self._book = OutcomeBook(config.portfolio.accounts)
        self.executors = {
            name: SimulatedExecutor(
                SimulatedAccount(
                    name,
                    run_id=run_id,
                    deposit=config.portfolio.initial_equity,
                    market=self._market,
                    costs=config.costs,
                    records=records,
                ),
                run_id=run_id,
                market=self._market,
                config=config,
            )
            for name in config.portfolio.accounts
        }
        self.outcomes: list[OrderEvent] = []
        self.trades = 0

    def run(self, on_day: DayWatcher | None) -> None:
        self._feed_bars(bars_before(self._recording, self._first_day, days=warm_up_days(self._config.strategy)))
        self._open_day(self._first_day, self._start_ms)
        for window in self._market.windows():
            self._play(window)
            day = self._session.day_of(window.start_ms)
            if window.end_ms == self._session.day_end_ms(day):
                self._feed_bars(self._bars.close_until(window.end_ms))
                self._open_day(self._session.day_of(window.end_ms), window.end_ms)
                if on_day is not None:
                    on_day(day, self.trades)

    def _play(self, window: Window) -> None:
        """Act on the trades of a window, each decision after the outcome of the one before is known."""
        self.trades += len(window)
        for batch in window.batches:
            self._feed_bars(self._bars.feed(batch))
            self._strategy.feed_trades(batch)
        self._strategy.advance(window.end_ms)
        while decisions := self._strategy.next_decisions():
            for decision in decisions:
                self._apply(self._act_on(decision))
        for executor in self.executors.values():
            executor.account.advance(window.end_ms)
        self._market.forget_before(window.end_ms)

    def _act_on(self, decision: Decision) -> Outcome:
        for intent in self._intents.intents(decision):
            for event in self.executors[intent.account].carry_out(intent):
                self._book.add(event)
                self.outcomes.append(event)
        outcome = self._book.outcome(key_of_decision(decision))
        if outcome is None:
            raise InvariantError(f"{decision.symbol}, {decision.day}: a decision was left open by an account")
        return outcome

    def _apply(self, outcome: Outcome) -> None:
        self._strategy.apply_outcome(
            outcome.symbol,
            outcome.day,
            outcome.leg,
            outcome.attempt,
            position_side=outcome.position_side,
            average_price=outcome.average_price,
            at_ms=outcome.at_ms,
        )

    def _open_day(self, day: date, now_ms: int) -> None:
        self._book.forget_before(day)
        for executor in self.executors.values():
            executor.open_day(day, now_ms)

    def _feed_bars(self, bars: list[DailyBar]) -> None:
        for bar in bars:
            self._strategy.feed_bar(bar)
