"""What becomes of an intent in a tick backtest: the executor's decisions, in event time, against a simulated account.

Sizing, risk rules, the split of large orders and the way to a flat position are core's, as in the executor. Times are
milliseconds UTC, quantities base units, money quote currency.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from breakwater_core.config import BreakwaterConfig, RiskSettings
from breakwater_core.decimals import to_text
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import DailyPerformance, Intent, OrderEvent, OrderStatus, Side
from breakwater_core.identities import order_event_id, order_link_id
from breakwater_core.performance import PerformanceSeries, growth_and_peak
from breakwater_core.reduction import reducing_order, round_pause_s
from breakwater_core.risk import RiskState, check_entry, running_drawdown
from breakwater_core.sizing import entry_quantity, split_quantity
from breakwater_core.verdicts import Refused
from breakwater_research.simulated_account import MarketOrder, Rejection, SimulatedAccount
from breakwater_research.simulated_market import Market

_ZERO = Decimal(0)
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class _DayOpen:
    """The account when a day opened: what is sized by, and where losses are counted from."""

    day: date
    equity: Decimal
    cumulative: Decimal = _ONE
    peak: Decimal = _ONE


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an account had come when a run began: what its drawdown is counted from.

    Attributes:
        cumulative: Product of the growth factors so far.
        peak: Largest such product so far, at least 1.
    """

    cumulative: Decimal = _ONE
    peak: Decimal = _ONE


FRESH = Standing()
"""Nothing was gained or lost yet."""


class SimulatedExecutor:
    """Carries out the intents of one account, each to its end, and keeps its days.

    Attributes:
        days: Closed days, oldest first.
    """

    def __init__(
        self,
        account: SimulatedAccount,
        *,
        run_id: str,
        market: Market,
        config: BreakwaterConfig,
        standing: Standing = FRESH,
    ) -> None:
        """Trade on the account."""
        self.account = account
        self.days: list[DailyPerformance] = []
        self._run_id = run_id
        self._market = market
        self._risk: RiskSettings = config.risk
        self._standing = standing
        self._opened: _DayOpen | None = None
        self._series: PerformanceSeries | None = None

    def open_day(self, day: date, now_ms: int) -> None:
        """Read the account at the day's open, and close the day before by it.

        A day that has no rate of return, because the account had nothing left, gets no row.
        """
        equity = self.account.equity(now_ms)
        before = self._opened
        if before is None:
            self._opened = _DayOpen(day, equity, self._standing.cumulative, self._standing.peak)
            return
        cumulative, peak = growth_and_peak(
            equity=equity,
            net_deposits=_ZERO,
            equity_before=before.equity,
            cumulative=before.cumulative,
            peak=before.peak,
        )
        if self._series is None:
            self._series = PerformanceSeries(
                run_id=self._run_id, account=self.account.name, initial_equity=before.equity
            )
        with suppress(InvalidInputError):
            self.days.append(self._series.close_day(before.day, equity, _ZERO))
        self._opened = _DayOpen(day, equity, cumulative, peak)

    def carry_out(self, intent: Intent) -> list[OrderEvent]:
        """Bring an intent to its end; return the last state of each order, the closing event last.

        Raises:
            InvariantError: If a position cannot be closed within a day after the recording's end.
        """
        return self._reduce(intent) if intent.leg.reduces else self._enter(intent)

    # -- entries ---------------------------------------------------------------------------------------------------

    def _enter(self, intent: Intent) -> list[OrderEvent]:
        verdict = self._decide(intent)
        if isinstance(verdict, Refused):
            status = OrderStatus.EXPIRED if verdict.rule == "expired" else OrderStatus.REFUSED
            return [_without_order(intent, status, at_ms=intent.trigger_time_ms, refused=verdict)]
        events: list[OrderEvent] = []
        stamp_ms = intent.trigger_time_ms
        for child, quantity in enumerate(verdict):
            event = self._send(intent, child, intent.side, quantity, stamp_ms)
            is_last = event.status is not OrderStatus.FILLED or child == len(verdict) - 1
            events.append(_closing(event) if is_last else event)
            if is_last:
                break
            stamp_ms = max(stamp_ms, event.event_time_ms)
        return events

    def _decide(self, intent: Intent) -> tuple[Decimal, ...] | Refused:
        """Return the quantities of the entry's orders, or the rule that refuses it."""
        opened = self._opened
        if opened is None or opened.day != intent.day:
            raise InvariantError(f"{intent.intent_id}: an entry of a day that was not opened")
        first = check_entry(intent, _ZERO, self._state(intent, opened), self._risk)
        if isinstance(first, Refused):
            return first
        instrument = self._market.instrument(intent.symbol)
        sized = entry_quantity(
            equity=opened.equity,
            gross_leverage=intent.gross_leverage,
            portfolio_size=intent.portfolio_size,
            price=intent.trigger_price,
            instrument=instrument,
        )
        if isinstance(sized, Refused):
            return sized
        checked = check_entry(intent, sized.notional, self._full_state(intent, opened), self._risk)
        if isinstance(checked, Refused):
            return checked
        return split_quantity(sized.quantity, instrument)

    def _full_state(self, intent: Intent, opened: _DayOpen) -> RiskState:
        at_ms = intent.trigger_time_ms
        positions, equity, drawdown = 0, opened.equity, _ZERO
        if self._risk.max_open_positions is not None:
            positions = len(self.account.open_symbols(at_ms) - {intent.symbol})
        if self._risk.daily_loss_stop is not None or self._risk.drawdown_stop is not None:
            equity = self.account.equity(at_ms)
            drawdown = running_drawdown(
                equity=equity,
                day_open_equity=opened.equity,
                net_deposits_today=_ZERO,
                cumulative=opened.cumulative,
                peak=opened.peak,
            )
        return self._state(intent, opened, positions=positions, equity=equity, drawdown=drawdown)

    @staticmethod
    def _state(
        intent: Intent,
        opened: _DayOpen,
        *,
        positions: int = 0,
        equity: Decimal | None = None,
        drawdown: Decimal = _ZERO,
    ) -> RiskState:
        return RiskState(
            halted=False,
            current_epoch=intent.epoch,
            open_positions=positions,
            equity=opened.equity if equity is None else equity,
            day_open_equity=opened.equity,
            net_deposits_today=_ZERO,
            drawdown=drawdown,
            last_market_data_ms=intent.trigger_time_ms,
            now_ms=intent.trigger_time_ms,
        )

    # -- exits -----------------------------------------------------------------------------------------------------

    def _reduce(self, intent: Intent) -> list[OrderEvent]:
        """Send one reduce-only order after the other until the position is flat."""
        events: list[OrderEvent] = []
        instrument = self._market.instrument(intent.symbol)
        after_ms, fruitless = intent.trigger_time_ms, 0
        while True:
            size = self.account.position_size(intent.symbol, after_ms)
            order = reducing_order(size, instrument)
            if order is None:
                if not events:
                    return [_without_order(intent, OrderStatus.FLAT, at_ms=after_ms)]
                return [*events[:-1], _closing(events[-1])]
            if events:
                after_ms += round(round_pause_s(fruitless) * 1000)
            event = self._send(intent, len(events), order.side, order.quantity, after_ms)
            if event.status is OrderStatus.REJECTED:
                raise InvariantError(f"{intent.intent_id}: the exchange refused a reducing order ({event.reason})")
            events.append(event)
            after_ms = max(after_ms, event.event_time_ms)
            fruitless = 0 if event.filled_quantity else fruitless + 1

    # -- orders ----------------------------------------------------------------------------------------------------

    def _send(self, intent: Intent, child: int, side: Side, quantity: Decimal, at_ms: int) -> OrderEvent:
        link_id = order_link_id(intent.intent_id, child)
        order = MarketOrder(intent.symbol, side, quantity, link_id, reduce_only=intent.leg.reduces)
        ended = self.account.send(order, at_ms)
        if isinstance(ended, Rejection):
            return _event(intent, OrderStatus.REJECTED, order, child=child, at_ms=at_ms, reason=ended.value)
        is_filled = ended.is_filled or ended.filled_quantity >= quantity
        return _event(
            intent,
            OrderStatus.FILLED if is_filled else OrderStatus.CANCELLED,
            order,
            child=child,
            at_ms=ended.updated_ms,
            filled=ended.filled_quantity,
            average=ended.average_price,
        )


def _without_order(intent: Intent, status: OrderStatus, *, at_ms: int, refused: Refused | None = None) -> OrderEvent:
    order = MarketOrder(intent.symbol, intent.side, _ZERO, "", reduce_only=intent.leg.reduces)
    event = _event(intent, status, order, child=0, at_ms=at_ms, reason="" if refused is None else refused.rule)
    return _closing(event)


def _closing(event: OrderEvent) -> OrderEvent:
    """Return the event as the one that closes its intent."""
    identity = order_event_id(
        intent=event.intent_id,
        child=event.child,
        status=event.status,
        filled_quantity=to_text(event.filled_quantity),
        closed=True,
    )
    return replace(event, event_id=identity, intent_closed=True)


def _event(
    intent: Intent,
    status: OrderStatus,
    order: MarketOrder,
    *,
    child: int,
    at_ms: int,
    filled: Decimal = _ZERO,
    average: Decimal | None = None,
    reason: str = "",
) -> OrderEvent:
    return OrderEvent(
        event_id=order_event_id(
            intent=intent.intent_id, child=child, status=status, filled_quantity=to_text(filled), closed=False
        ),
        run_id=intent.run_id,
        account=intent.account,
        symbol=intent.symbol,
        day=intent.day,
        strategy_version=intent.strategy_version,
        intent_id=intent.intent_id,
        order_link_id=order.order_link_id,
        child=child,
        status=status,
        leg=intent.leg,
        side=order.side,
        reduce_only=order.reduce_only,
        quantity=order.quantity,
        filled_quantity=filled,
        average_price=average,
        target_price=intent.target_price,
        trigger_price=intent.trigger_price,
        trigger_time_ms=intent.trigger_time_ms,
        intent_closed=False,
        event_time_ms=at_ms,
        reason=reason,
    )
