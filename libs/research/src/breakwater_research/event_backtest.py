"""A backtest driven by events: decisions in, each carried out to its end before the next is asked for, a report out.

What the engines share, so that they cannot disagree on it: which days are played, the run's id, intents, outcomes,
sizing, risk rules, fills, fees, funding, margin and daily rows. An engine brings a market and a source of decisions.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Protocol

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Leg, OrderEvent, Side
from breakwater_core.identities import replay_run_id
from breakwater_core.intents import IntentFactory, Outcome, OutcomeBook, key_of_decision
from breakwater_core.portfolio import Decision
from breakwater_core.report import Report, build_report
from breakwater_recordings.recording import Recording, Window
from breakwater_recordings.selection import played_days
from breakwater_research.cost_records import NO_RECORDS, CostRecords
from breakwater_research.simulated_account import SimulatedAccount, record_counters
from breakwater_research.simulated_executor import FRESH, SimulatedExecutor, Standing
from breakwater_research.simulated_market import Market

DayWatcher = Callable[[date, int], None]
"""Is told of each day that is done, with the number of trades so far."""


class DecisionSource(Protocol):
    """Says what is to be done, one event after the other, as `PortfolioStrategy` does."""

    def advance(self, now_ms: int) -> None:
        """Allow decisions of events before the time."""

    def next_decisions(self) -> tuple[Decision, ...]:
        """Return the earliest decisions; empty when done."""

    def apply_outcome(
        self,
        symbol: str,
        day: date,
        leg: Leg,
        attempt: int,
        *,
        position_side: Side | None,
        average_price: Decimal | None,
        at_ms: int,
    ) -> bool:
        """Tell what a decision left behind."""


class EventBacktest(ABC):
    """One run; a subclass brings market and decisions.

    Attributes:
        executors: By account.
        outcomes: The last state of each order, and the end of each intent without one.
        trades: Trades of the market so far.
    """

    def __init__(
        self,
        config: BreakwaterConfig,
        *,
        run_id: str,
        first_day: date,
        market: Market,
        decisions: DecisionSource,
        records: CostRecords = NO_RECORDS,
        standing: Standing = FRESH,
    ) -> None:
        """Open the accounts.

        Args:
            config: Settings of the run, with its symbols.
            run_id: Id of the run.
            first_day: First day that is played.
            market: Trades and rules.
            decisions: What is to be done.
            records: Recorded costs.
            standing: How far the accounts have come before the first day.
        """
        self._session = config.session.session()
        self._first_day = first_day
        self._market = market
        self._decisions = decisions
        self._intents = IntentFactory(run_id, config, len(config.portfolio.symbols))
        self._book = OutcomeBook(config.portfolio.accounts)
        self.executors = {
            name: SimulatedExecutor(
                SimulatedAccount(
                    name,
                    run_id=run_id,
                    deposit=config.portfolio.initial_equity,
                    market=market,
                    costs=config.costs,
                    records=records,
                ),
                run_id=run_id,
                market=market,
                config=config,
                standing=standing,
            )
            for name in config.portfolio.accounts
        }
        self.outcomes: list[OrderEvent] = []
        self.trades = 0

    def run(self, on_day: DayWatcher | None = None) -> None:
        """Play every window of the market.

        Raises:
            InvalidInputError: If the recording is damaged.
            InvariantError: If a position cannot be closed, or the books disagree.
        """
        self._begin()
        self._open_day(self._first_day, self._session.day_start_ms(self._first_day))
        for window in self._market.windows():
            self._take(window)
            self._play_until(window.end_ms)
            day = self._session.day_of(window.start_ms)
            if window.end_ms == self._session.day_end_ms(day):
                self._end_day(window.end_ms)
                self._open_day(self._session.day_of(window.end_ms), window.end_ms)
                if on_day is not None:
                    on_day(day, self.trades)

    @abstractmethod
    def _begin(self) -> None:
        """Tell the source of decisions what it must know before the first day."""

    @abstractmethod
    def _take(self, window: Window) -> None:
        """Tell the source of decisions of a window's trades, and count them."""

    @abstractmethod
    def _end_day(self, now_ms: int) -> None:
        """Tell the source of decisions that a day has ended."""

    def _play_until(self, end_ms: int) -> None:
        """Act on events before the time, each decision after the outcome of the one before is known."""
        self._decisions.advance(end_ms)
        while decisions := self._decisions.next_decisions():
            for decision in decisions:
                self._apply(self._act_on(decision))
        self._market.read_through(end_ms)  # a trade at the end itself is the mark of a settlement then
        for executor in self.executors.values():
            executor.account.advance(end_ms)
        self._market.forget_before(end_ms)

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
        self._decisions.apply_outcome(
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


class MakeBacktest(Protocol):
    """Makes an engine's run over the days asked for."""

    def __call__(self, config: BreakwaterConfig, run_id: str, first_day: date, last_day: date, /) -> EventBacktest:
        """Return the run."""


def run_events(
    make: MakeBacktest,
    recording: Recording,
    config: BreakwaterConfig,
    *,
    first_day: date | None,
    last_day: date | None,
    run_id: str | None,
    on_day: DayWatcher | None,
    records: CostRecords,
) -> Report:
    """Return the report of an engine's run; see `run_tick_backtest` for arguments and errors.

    Args:
        make: The engine.
        recording: As there, as all that follows.
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
    backtest = make(config, identity, first, last)
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
