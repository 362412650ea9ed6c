"""What the bus already holds of a replay: where a restarted one goes on, and which of its messages are stored."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date

import nats.errors
import nats.js.errors

from breakwater_core.errors import InvariantError, PermanentError
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, BusError
from market_data_service.replay_plan import ReplayPlan

PARTICIPANT = "market-data"


@dataclass(frozen=True)
class ReplayProgress:
    """How far a replay is, as it stands in the checkpoint bucket for restarts and for whoever shows it.

    Attributes:
        window: Last window whose ADVANCED clock was published; 0 before the first.
        now_ms: End of that window, milliseconds since 1970-01-01T00:00Z.
        start_ms: Start of the first window.
        end_ms: End of the last window.
        trades_total: Trades published so far.
        span_ms: Event time of a window; numbers of windows mean nothing without it.
        ended: Whether the replay is over.
    """

    window: int
    now_ms: int
    start_ms: int
    end_ms: int
    trades_total: int
    span_ms: int
    ended: bool = False

    @classmethod
    def beginning_of(cls, plan: ReplayPlan) -> "ReplayProgress":
        """Return the progress of a plan of which nothing has been played."""
        return cls(0, plan.start_ms, plan.start_ms, plan.end_ms, 0, plan.span_ms)

    @classmethod
    def at(cls, clock: Clock, plan: ReplayPlan) -> "ReplayProgress":
        """Return the progress of a plan whose last clock was this one."""
        return cls(
            window=clock.window,
            now_ms=clock.now_ms,
            start_ms=plan.start_ms,
            end_ms=plan.end_ms,
            trades_total=clock.trades_total,
            span_ms=plan.span_ms,
            ended=clock.kind is ClockKind.ENDED,
        )

    def to_json(self) -> bytes:
        """Return the value that stands in the bucket."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, value: bytes) -> "ReplayProgress":
        """Return the progress that `to_json` wrote.

        Raises:
            InvariantError: If the value is anything else.
        """
        try:
            return cls(**json.loads(value))
        except (ValueError, TypeError) as error:
            raise InvariantError(
                f"the progress of this replay is unreadable ({error}); delete the run's keys or use another RUN_ID"
            ) from error


@dataclass
class Published:
    """The last messages of a run on the bus.

    Attributes:
        clock: Last clock.
        trades: Per symbol, window and first time of the last batch.
        bars: Per symbol, day of the last bar and whether it was CLOSED.
    """

    clock: Clock | None = None
    trades: dict[str, tuple[int, int]] = field(default_factory=dict)
    bars: dict[str, tuple[date, bool]] = field(default_factory=dict)

    def note(self, event: TradeBatch | DailyBar | Clock) -> None:
        """Take in a message that the bus holds."""
        if isinstance(event, Clock):
            self.clock = event
        elif isinstance(event, DailyBar):
            self.bars[event.symbol] = _place_of_bar(event)
        elif len(event):
            self.trades[event.symbol] = _place_of_batch(event)

    def holds(self, event: TradeBatch | DailyBar) -> bool:
        """Return whether the event went out before: those of a symbol and kind go out in a fixed order."""
        if isinstance(event, DailyBar):
            last_bar = self.bars.get(event.symbol)
            return last_bar is not None and _place_of_bar(event) <= last_bar
        last_batch = self.trades.get(event.symbol)
        return last_batch is not None and _place_of_batch(event) <= last_batch


def _place_of_bar(bar: DailyBar) -> tuple[date, bool]:
    return bar.day, bar.state is BarState.CLOSED


def _place_of_batch(batch: TradeBatch) -> tuple[int, int]:
    return batch.window, int(batch.times_ms[0])


async def read_published(bus: Bus, symbols: Iterable[str], fallback: ReplayProgress | None) -> Published:
    """Return what the bus holds of the run.

    Args:
        bus: The bus; its run is asked about.
        symbols: Symbols of the run.
        fallback: Where the run was when its clock has gone from the stream, e.g. because that was emptied.

    Raises:
        BusError: If the bus does not answer.
    """
    published = Published()
    names = list(symbols)
    wanted = [subjects.clock(), *map(subjects.trades, names), *map(subjects.daily_bars, names)]
    for subject in wanted:
        event = await last_event(bus, subject)
        if isinstance(event, TradeBatch | DailyBar | Clock):
            published.note(event)
    if published.clock is None and fallback is not None and fallback.window:
        published.clock = Clock(
            kind=ClockKind.ADVANCED,
            now_ms=fallback.now_ms,
            trades_through_ms=fallback.now_ms,
            day=date.min,
            window=fallback.window,
            trades_total=fallback.trades_total,
        )
    return published


async def last_event(bus: Bus, subject: str) -> codec.Event | None:
    """Return the newest message of a subject of the market stream; None if it has none or that is of another run.

    Raises:
        BusError: If the bus does not answer.
    """
    try:
        message = await bus.jetstream.get_last_msg(subjects.MARKET_STREAM.name, subject)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise BusError(f"the last message of {subject} could not be read ({type(error).__name__})") from error
    try:
        decoded = codec.decode(subject, message.data or b"")
    except PermanentError:
        return None
    event: codec.Event = decoded.value
    return event if decoded.run_id == bus.run_id else None
