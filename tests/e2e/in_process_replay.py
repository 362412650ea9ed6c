"""A replay without processes, bus and wires: the services' own parts, called one after the other.

Real are the replay's script and windows, signal's strategy and intents, the executor's handler with its entry and
reduction runs, the paper exchange behind its gateway (the rows that go over HTTP, decoded as the client decodes them),
and the reporter's database with its daily rows. So hundreds of configurations can be compared in the time that a few
replays with processes take.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from breakwater_bybit import decoding, errors
from breakwater_bybit.errors import RequestKind
from breakwater_bybit.model import Execution, OrderState, PositionState
from breakwater_core.config import BreakwaterConfig
from breakwater_core.decimals import to_text
from breakwater_core.events import Alert, Intent, OrderEvent, Side
from breakwater_core.identities import replay_run_id
from breakwater_core.intents import IntentFactory, OutcomeBook, key_of_decision
from breakwater_core.market import Clock, ClockKind, DailyBar, Instrument, TradeBatch
from breakwater_core.portfolio import PortfolioStrategy
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_recordings.daily_bars import DailyBarBuilder, bars_before
from breakwater_recordings.recording import Recording
from breakwater_recordings.selection import first_prices, played_days, warm_up_days
from breakwater_runtime.control import ControlWatch
from executor_service.day_open import DayOpen, growth_since
from executor_service.drain import Drain
from executor_service.entry_check import EntryCheck
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import Permit
from executor_service.entry_run import EntryRun
from executor_service.exit_schedule import ExitSchedule
from executor_service.intent_handler import IntentHandler
from executor_service.intent_record import IntentRecord
from executor_service.order_follower import OrderFollower
from executor_service.order_life import Patience
from executor_service.position_places import Held
from executor_service.reduction_run import ReductionRun
from executor_service.right_of_way import RightOfWay
from executor_service.slots import PrioritySlots
from executor_service.venue_clock import ClockMode, VenueClock
from market_data_service.recorded_windows import windows_from
from market_data_service.replay_plan import ReplayPlan
from market_data_service.replay_script import Announce, Publish, ReplayScript, Step
from paper_exchange_service.api.rows import execution_row
from paper_exchange_service.engine.accounts import Credentials
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.fault_layer import FaultLayer
from paper_exchange_service.gateway import ENDPOINTS, Gateway
from paper_exchange_service.rate_limits import RateLimits
from paper_exchange_service.server import known_instruments
from paper_exchange_service.settings import Mode, PaperExchangeSettings
from paper_exchange_service.venue import ReplayVenue
from reporter_service.daily_rows import DailyRows
from reporter_service.database import Database
from reporter_service.migrate import migrate
from reporter_service.reading import report_of
from reporter_service.recording import record_clock, record_fill, record_order, record_run, record_snapshot

_NOW = Patience(polls_s=(0.0,), look_ups_s=(0.0,), settle_s=0.0)


class GatewayAccount:
    """An account as the executor's order role needs it, at the paper exchange's gateway."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self.account = gateway.venue.engine.accounts[name]
        self._gateway = gateway

    async def ask(self, method: str, path: str, at_ms: int | None, **params: Any) -> dict[str, Any]:
        values = {"category": "linear"} | params
        reply = await self._gateway.answer(ENDPOINTS[method, path], values, self.account, at_ms)
        if reply.code:
            kind = RequestKind.CHANGE if method == "POST" else RequestKind.QUERY
            raise errors.error_of_code(reply.code, reply.text, endpoint=path.removeprefix("/v5/"), kind=kind)
        return reply.result

    async def place_market_order(
        self,
        *,
        symbol: str,
        side: Side,
        quantity: Decimal,
        order_link_id: str,
        reduce_only: bool,
        at_ms: int | None,
        closes_all: bool = False,
        send_by_s: float | None = None,
    ) -> None:
        await self.ask(
            "POST",
            "/v5/order/create",
            at_ms,
            symbol=symbol,
            side="Buy" if side is Side.BUY else "Sell",
            orderType="Market",
            qty="0" if closes_all else to_text(quantity),
            orderLinkId=order_link_id,
            reduceOnly=reduce_only,
            closeOnTrigger=closes_all,
            positionIdx=0,
        )

    async def find_order(
        self, *, symbol: str, order_link_id: str, at_ms: int | None, urgent: bool
    ) -> OrderState | None:
        result = await self.ask("GET", "/v5/order/realtime", at_ms, symbol=symbol, orderLinkId=order_link_id)
        return next(iter(decoding.decode_orders(result)), None)

    async def position_size(self, *, symbol: str, at_ms: int | None) -> Decimal:
        result = await self.ask("GET", "/v5/position/list", at_ms, symbol=symbol)
        return sum((position.size for position in decoding.decode_positions(result)), Decimal(0))

    async def open_positions(self, *, at_ms: int | None) -> list[PositionState]:
        result = await self.ask("GET", "/v5/position/list", at_ms, settleCoin="USDT", limit="200")
        return [position for position in decoding.decode_positions(result) if not position.is_flat]

    async def equity(self, *, at_ms: int | None) -> Decimal:
        result = await self.ask("GET", "/v5/account/wallet-balance", at_ms, accountType="UNIFIED")
        return decoding.decode_wallet(result, answered_at_ms=0).equity

    async def net_deposits(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> Decimal:
        return Decimal(0)

    async def instrument(self, symbol: str, *, is_fresh: bool = False) -> Instrument:
        result = await self.ask("GET", "/v5/market/instruments-info", None, symbol=symbol)
        return decoding.decode_instruments(result)[0]


@dataclass
class _Memory:
    """Records of intents, day opens and the events published, for one run."""

    records: dict[str, tuple[IntentRecord, int]] = field(default_factory=dict)
    events: list[OrderEvent] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    openings: dict[tuple[str, date], DayOpen] = field(default_factory=dict)

    async def read(self, key: str) -> tuple[IntentRecord, int] | None:
        return self.records.get(key)

    async def write(self, key: str, record: IntentRecord, revision: int) -> int:
        assert self.records.get(key, (None, 0))[1] == revision
        self.records[key] = (IntentRecord.decode(record.encode()), revision + 1)
        return revision + 1

    async def publish(self, event: OrderEvent) -> None:
        self.events.append(event)

    async def try_to_publish(self, event: OrderEvent) -> bool:
        self.events.append(event)
        return True

    async def alert(self, alert: Alert) -> None:
        self.alerts.append(alert)

    async def wait_for(self, account: str, day: date, timeout_s: float | None) -> DayOpen | None:
        return self.openings.get((account, day))


class _NobodyHalts:
    """The last question before an entry, where nobody is there to halt."""

    async def ask(self, intent: Intent, *, after_ms: int) -> Permit:
        return Permit(max(intent.trigger_time_ms, after_ms), float("inf"))


class _OneProcess:
    """Places for positions where nobody else takes any."""

    async def take(self, intent: Intent, *, most: int, held: Held) -> int | None:
        others = len(await held() - {intent.symbol})
        return others if others >= most else None

    async def give_back(self, intent: Intent) -> None:
        """Nothing is held."""


class InProcessReplay:
    """One replay; `span_ms` None takes the recording's own."""

    def __init__(
        self,
        recording: Recording,
        config: BreakwaterConfig,
        folder: Path,
        *,
        first_day: date | None = None,
        last_day: date | None = None,
        span_ms: int | None = None,
        funding_file: Path | None = None,
    ) -> None:
        if not config.portfolio.symbols:
            portfolio = config.portfolio.model_copy(update={"symbols": recording.symbols})
            config = config.model_copy(update={"portfolio": portfolio})
        self.config = config
        self.recording = recording
        first, last = played_days(recording, first_day, last_day)
        self.run_id = replay_run_id(
            fingerprint=recording.fingerprint, strategy_version=config.version, first_day=first, last_day=last
        )
        plan = ReplayPlan(recording.session, first, last, span_ms=0)
        span_ms = span_ms or recording.suggested_span_ms(plan.start_ms, plan.end_ms)
        self.plan = ReplayPlan(recording.session, first, last, span_ms=span_ms)
        self.memory = _Memory()
        self.database = Database(f"sqlite:///{folder / 'breakwater.db'}")
        self._open_exchange(funding_file)
        self._open_executor()
        self._strategy = PortfolioStrategy(config, config.portfolio.symbols)
        self._intents = IntentFactory(self.run_id, config, len(config.portfolio.symbols))
        self._book = OutcomeBook(config.portfolio.accounts)
        self._told = 0
        self._filled: set[str] = set()
        self._rows = DailyRows(self.run_id)

    def _open_exchange(self, funding_file: Path | None) -> None:
        settings = PaperExchangeSettings(
            mode=Mode.REPLAY,
            run_id=self.run_id,
            reference_prices=first_prices(self.recording),
            funding_file=funding_file,
        )
        engine = Engine(
            settings.costs_of(self.config), instruments=known_instruments(settings, self.config), retention_ms=900_000
        )
        for account in settings.accounts_of(self.config):
            engine.add_account(account.name, Credentials(account.key, "secret"), account.usdt, at_ms=0)
        self.venue = ReplayVenue(engine)
        gateway = Gateway(self.venue, RateLimits(enforced=False, ban_ms=1), FaultLayer())
        self.accounts = {name: GatewayAccount(gateway, name) for name in self.config.portfolio.accounts}

    def _open_executor(self) -> None:
        clock, drain, slots = VenueClock(ClockMode.EVENT), Drain(), PrioritySlots(4)
        right_of_way = RightOfWay()
        follower = OrderFollower(
            right_of_way=right_of_way,
            publisher=self.memory,
            clock=clock,
            drain=drain,
            gate=_NobodyHalts(),
            flights=EntryFlights(),
            entry_patience=_NOW,
            exit_patience=_NOW,
            unknown_alert_s=60.0,
        )
        check = EntryCheck(
            risk=self.config.risk,
            control=ControlWatch(),
            day_opens=self.memory,
            clock=clock,
            drain=drain,
            publisher=self.memory,
            places=_OneProcess(),
        )
        self.handler = IntentHandler(
            accounts=self.accounts,
            records=self.memory,
            publisher=self.memory,
            entries=EntryRun(check=check, follower=follower, slots=slots, clock=clock, drain=drain),
            reductions=ReductionRun(
                right_of_way=right_of_way,
                follower=follower,
                slots=slots,
                clock=clock,
                drain=drain,
                schedule=ExitSchedule(Session(), flat_deadline_s=60.0),
            ),
            drain=drain,
        )

    async def run(self) -> Report:
        """Play every window and return the report."""
        migrate(self.database)
        with self.database.writing() as session:
            record_run(
                session,
                run_id=self.run_id,
                strategy_version=self.config.version,
                config=self.config.as_values(),
                wall_ms=0,
            )
        bars = DailyBarBuilder(self.plan.session, is_complete=self.recording.is_complete)
        script = ReplayScript(self.plan, bars, ["account", "signal"])
        windows = windows_from(self.recording, self.plan, 1)
        current = next(windows)
        warm_up = bars_before(self.recording, self.plan.first_day, days=warm_up_days(self.config.strategy))
        for step in script.begin(current, warm_up):
            await self._carry_out(step)
        while current is not None:
            ahead = next(windows, None)
            for step in script.play(current, ahead):
                await self._carry_out(step)
            current = ahead
        with self.database.reading() as session:
            report = report_of(session, self.run_id)
        self.database.close()
        return report

    async def _carry_out(self, step: Step) -> None:
        match step:
            case Publish(events):
                for event in events:
                    self._take(event)
            case Announce(clock):
                self.venue.feed_clock(clock.trades_through_ms, clock.now_ms)
                await self._clock(clock)

    def _take(self, event: TradeBatch | DailyBar) -> None:
        if isinstance(event, DailyBar):
            self._strategy.feed_bar(event)
        else:
            self.venue.feed_trades(event)
            self._strategy.feed_trades(event)

    async def _clock(self, clock: Clock) -> None:
        if clock.kind is not ClockKind.ADVANCED:
            with self.database.writing() as session:
                record_clock(session, self.run_id, clock, wall_ms=0)
        if clock.kind is ClockKind.ADVANCED:
            self._strategy.advance(clock.now_ms)
            while decisions := self._strategy.next_decisions():
                intents = [intent for decision in decisions for intent in self._intents.intents(decision)]
                await asyncio.gather(*(self._handle(intent) for intent in intents))
                self._record_events()
                for decision in decisions:
                    outcome = self._book.outcome(key_of_decision(decision))
                    assert outcome is not None
                    self._strategy.apply_outcome(
                        outcome.symbol,
                        outcome.day,
                        outcome.leg,
                        outcome.attempt,
                        position_side=outcome.position_side,
                        average_price=outcome.average_price,
                        at_ms=outcome.at_ms,
                    )
        elif clock.kind is ClockKind.DAY_OPENED:
            self._book.forget_before(clock.day)
            for name, account in self.accounts.items():
                await self._open_day(name, account, clock)

    async def _handle(self, intent: Intent) -> None:
        await self.handler.handle(intent, is_first=True)

    def _record_events(self) -> None:
        new, self._told = self.memory.events[self._told :], len(self.memory.events)
        with self.database.writing() as session:
            for event in new:
                self._book.add(event)
                record_order(session, event)

    async def _open_day(self, name: str, account: GatewayAccount, clock: Clock) -> None:
        """Publish the account's executions and its state, as the account role does at a day's open."""
        result = await account.ask("GET", "/v5/account/wallet-balance", clock.now_ms, accountType="UNIFIED")
        wallet = decoding.decode_wallet(result, answered_at_ms=0)
        before = max((opening for (known, _), opening in self.memory.openings.items() if known == name),
                     key=lambda opening: opening.day, default=None)  # fmt: skip
        cumulative, peak = growth_since(before, equity=wallet.equity, net_deposits=Decimal(0))
        with self.database.writing() as session:
            for fill in self._new_fills(account):
                record_fill(session, fill.to_fill(run_id=self.run_id, account=name))
            opening = DayOpen(
                day=clock.day,
                taken_at_ms=clock.now_ms,
                equity=wallet.equity,
                wallet_balance=wallet.wallet_balance,
                net_deposits=Decimal(0),
                cumulative=cumulative,
                peak=peak,
                fills_total=len(self._filled),
            )
            self.memory.openings[name, clock.day] = opening
            snapshot = opening.snapshot(run_id=self.run_id, account=name)
            record_snapshot(session, snapshot)
            session.flush()
            self._rows.close(session, snapshot)

    def _new_fills(self, account: GatewayAccount) -> list[Execution]:
        """Return the executions that the private stream has told by now."""
        rows = [execution_row(fill) for fill in account.account.executions]
        executions = decoding.decode_executions({"list": rows})
        new = [execution for execution in executions if execution.exec_id not in self._filled]
        self._filled.update(execution.exec_id for execution in new)
        return new
