"""May this entry be sent, and how large: control state, day open, sizing and risk rules in one decision."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_core.config import RiskSettings
from breakwater_core.errors import InvalidInputError, PermanentError
from breakwater_core.events import Alert, Intent, OrderStatus, Severity
from breakwater_core.risk import RiskState, check_entry, running_drawdown
from breakwater_core.sizing import entry_quantity, split_quantity
from breakwater_core.verdicts import Refused
from breakwater_runtime.control import ControlWatch
from breakwater_runtime.logs import get_logger
from executor_service import metrics
from executor_service.alarm import SERVICE
from executor_service.day_open import DayOpen, DayOpens
from executor_service.drain import Drain
from executor_service.intent_record import Outcome
from executor_service.outcomes import without_order
from executor_service.ports import Publisher, TradingAccount
from executor_service.position_places import Places
from executor_service.venue_clock import VenueClock

_RETRY_PAUSE_S = 0.25
_LOSS_STOPS = frozenset({"daily_loss_stop", "drawdown_stop"})
_ONE = Decimal(1)
_ZERO = Decimal(0)

Obstacle = Callable[[str], Refused | None]
"""Tells why an account may not enter; None: it may."""


LimitsOf = Callable[[Intent], Awaitable[RiskSettings]]
"""Tells the limits of the configuration that an intent was decided under."""


def no_obstacle(_account: str) -> Refused | None:
    """Return None: every account may enter."""
    return None


class _TooLate(Exception):
    """The entry's time ran out while something was awaited."""


class _NoAnswer(Exception):
    """The exchange will never answer a question; the text says why."""


@dataclass(frozen=True, slots=True)
class Approved:
    """The entry may be sent: the quantities of its orders, base units."""

    quantities: tuple[Decimal, ...]


class EntryCheck:
    """Decides about entries. Positions, equity and deposits are asked for only if a limit needs them."""

    def __init__(
        self,
        *,
        risk: RiskSettings,
        control: ControlWatch,
        day_opens: DayOpens,
        clock: VenueClock,
        drain: Drain,
        publisher: Publisher,
        places: Places,
        obstacle: Obstacle = no_obstacle,
        limits_of: LimitsOf | None = None,
    ) -> None:
        """Check by the limits of each intent's configuration.

        Args:
            risk: Limits where `limits_of` is not given.
            control: Who is halted.
            day_opens: Equity at the day's open.
            clock: The exchange's time.
            drain: Tells when the process must stop.
            publisher: Hears of a loss that stops entries.
            places: Entries on their way.
            obstacle: Tells who may not enter.
            limits_of: The limits of an intent.
        """
        self._obstacle = obstacle
        self._risk = risk
        self._limits_of = limits_of
        self._control = control
        self._day_opens = day_opens
        self._clock = clock
        self._drain = drain
        self._publisher = publisher
        self._places = places
        self._warned: set[tuple[str, str, date]] = set()

    async def counts_positions(self, intent: Intent) -> bool:
        """Return whether entries of the intent's account must be decided one after the other.

        Raises:
            BusError: If the bus does not answer.
        """
        return (await self._limits(intent)).max_open_positions is not None

    async def _limits(self, intent: Intent) -> RiskSettings:
        return self._risk if self._limits_of is None else await self._limits_of(intent)

    async def closed(self, intent: Intent) -> None:
        """Take note that an entry has its outcome: the exchange knows now what it has opened.

        Raises:
            BusError: If the bus does not answer.
        """
        if await self.counts_positions(intent):
            await self._places.give_back(intent)

    async def decide(self, intent: Intent, account: TradingAccount) -> Approved | Outcome:
        """Return the orders to send, or the outcome REFUSED or EXPIRED.

        Raises:
            BusError: If the bus does not tell the intent's limits.
            Draining: If the process must stop before it is decided.
        """
        try:
            verdict = await self._decide(intent, account)
        except _TooLate:
            return self._expired(intent, "the entry's time ran out before the exchange answered")
        except _NoAnswer as error:
            verdict = Refused("account_unreadable", str(error))
        if isinstance(verdict, Approved):
            return verdict
        if verdict.rule == "expired":
            return self._expired(intent, verdict.detail)
        metrics.REFUSED.labels(verdict.rule).inc()
        get_logger().info("entry_refused", rule=verdict.rule, detail=verdict.detail)
        if verdict.rule in _LOSS_STOPS:
            await self._warn(intent, verdict)
        return without_order(
            intent,
            OrderStatus.REFUSED,
            at_ms=self._clock.now_ms(intent),
            reason=verdict.rule,
            detail=verdict.detail,
        )

    async def _warn(self, intent: Intent, verdict: Refused) -> None:
        """Raise the alert that a loss has stopped the account: once, under one id for the day."""
        case = (verdict.rule, intent.account, intent.day)
        if case in self._warned:
            return
        self._warned = {known for known in self._warned if known[2] == intent.day} | {case}
        await self._publisher.alert(
            Alert(
                alert_id=f"{verdict.rule}/{intent.run_id}/{intent.account}/{intent.day.isoformat()}",
                run_id=intent.run_id,
                severity=Severity.CRITICAL,
                service=SERVICE,
                name=verdict.rule,
                summary=f"{intent.account}: {verdict.detail}; nothing more is entered while that is so",
                event_time_ms=self._clock.now_ms(intent),
                account=intent.account,
                facts={"day": intent.day.isoformat()},
            )
        )

    def _expired(self, intent: Intent, detail: str) -> Outcome:
        at_ms = self._clock.now_ms(intent)
        return without_order(intent, OrderStatus.EXPIRED, at_ms=at_ms, reason="expired", detail=detail)

    async def _decide(self, intent: Intent, account: TradingAccount) -> Approved | Refused:
        if (refused := self._obstacle(intent.account)) is not None:
            return refused
        limits = await self._limits(intent)
        first = check_entry(intent, _ZERO, self._state(intent), limits)
        if isinstance(first, Refused):
            return first
        day_open = await self._day_opens.wait_for(intent.account, intent.day, self._clock.left_s(intent))
        if day_open is None:
            return Refused("no_day_open", f"the equity at the open of {intent.day} was not known in time")
        try:
            instrument = await self._ask(intent, lambda: account.instrument(intent.symbol))
        except InvalidInputError as error:
            return Refused("unknown_instrument", str(error))
        sized = entry_quantity(
            equity=day_open.equity,
            gross_leverage=intent.gross_leverage,
            portfolio_size=intent.portfolio_size,
            price=intent.trigger_price,
            instrument=instrument,
        )
        if isinstance(sized, Refused):
            return sized
        state = await self._full_state(intent, account, day_open, limits)
        checked = check_entry(intent, sized.notional, state, limits)
        if isinstance(checked, Refused):
            return checked
        return Approved(split_quantity(sized.quantity, instrument))

    async def _full_state(
        self, intent: Intent, account: TradingAccount, day_open: DayOpen, limits: RiskSettings
    ) -> RiskState:
        at_ms = self._clock.stamp_ms(intent)
        positions, equity, deposits, drawdown = 0, day_open.equity, _ZERO, _ZERO
        if limits.max_open_positions is not None:

            async def held() -> set[str]:
                found = await self._ask(intent, lambda: account.open_positions(at_ms=at_ms))
                return {position.symbol for position in found}

            positions = await self._places.take(intent, most=limits.max_open_positions, held=held) or 0
        if limits.daily_loss_stop is not None or limits.drawdown_stop is not None:
            equity = await self._ask(intent, lambda: account.equity(at_ms=at_ms))
            now_ms = self._clock.now_ms(intent)
            deposits = await self._ask(
                intent,
                lambda: account.net_deposits(start_ms=day_open.taken_at_ms, end_ms=now_ms, at_ms=at_ms),
            )
            drawdown = running_drawdown(
                equity=equity,
                day_open_equity=day_open.equity,
                net_deposits_today=deposits,
                cumulative=day_open.cumulative,
                peak=day_open.peak,
            )
        return self._state(
            intent,
            positions=positions,
            equity=equity,
            day_open_equity=day_open.equity,
            deposits=deposits,
            drawdown=drawdown,
        )

    def _state(
        self,
        intent: Intent,
        *,
        positions: int = 0,
        equity: Decimal = _ONE,
        day_open_equity: Decimal = _ONE,
        deposits: Decimal = _ZERO,
        drawdown: Decimal = _ZERO,
    ) -> RiskState:
        control = self._control.state
        return RiskState(
            halted=control.is_halted(intent.account),
            current_epoch=control.fence(intent.account),
            open_positions=positions,
            equity=equity,
            day_open_equity=day_open_equity,
            net_deposits_today=deposits,
            drawdown=drawdown,
            last_market_data_ms=intent.trigger_time_ms,
            now_ms=self._clock.now_ms(intent),
        )

    async def _ask[T](self, intent: Intent, question: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, as long as the entry may still be sent."""
        while True:
            try:
                return await question()
            except (ExchangeError, MalformedPayload) as error:
                metrics.QUERY_FAILURES.labels("entry").inc()
                if isinstance(error, PermanentError):
                    raise _NoAnswer(str(error)) from error
                get_logger().warning("entry_waiting", reason=str(error))
            await self._drain.rest(_RETRY_PAUSE_S)
            if not self._clock.may_enter(intent):
                raise _TooLate
