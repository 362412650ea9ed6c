"""The order of a replay's messages, over all windows and restarts."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvariantError
from breakwater_core.market import BarState, ClockKind, DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.daily_bars import DailyBarBuilder
from breakwater_recordings.recording import Window
from market_data_service.published import Published
from market_data_service.replay_plan import ReplayPlan
from market_data_service.replay_script import Announce, Await, Publish, ReplayScript, Step, parts_of

DAY = date(2024, 3, 1)
SESSION = Session()
SPAN_MS = 21_600_000


def batch(symbol: str, times_ms: list[int], window: int) -> TradeBatch:
    count = len(times_ms)
    return TradeBatch(
        symbol, np.array(times_ms, np.int64), np.full(count, 5.0), np.ones(count), np.ones(count, np.int8), window
    )


def windows_of(days: int, present: list[list[str]]) -> list[Window]:
    """Return windows of six hours; `present[i]` lists the symbols that trade in window i + 1, cyclically."""
    start_ms = SESSION.day_start_ms(DAY)
    windows = []
    for number in range(1, 4 * days + 1):
        begin_ms = start_ms + (number - 1) * SPAN_MS
        batches = tuple(
            batch(symbol, [begin_ms + 5, begin_ms + 6], number) for symbol in present[(number - 1) % len(present)]
        )
        windows.append(Window(number, begin_ms, begin_ms + SPAN_MS, batches))
    return windows


def script_of(days: int, participants: tuple[str, ...] = ("signal", "account")) -> ReplayScript:
    plan = ReplayPlan(SESSION, DAY, DAY + timedelta(days=days - 1), SPAN_MS)
    return ReplayScript(plan, DailyBarBuilder(SESSION), participants)


def steps_of(windows: list[Window], days: int, participants: tuple[str, ...] = ("signal", "account")) -> list[Step]:
    script = script_of(days, participants)
    steps = list(script.begin(windows[0], []))
    for current, ahead in zip(windows, [*windows[1:], None], strict=True):
        steps += script.play(current, ahead)
    return steps


PRESENT = st.lists(st.lists(st.sampled_from(["A", "B", "C"]), unique=True), min_size=1, max_size=7)


@given(st.integers(1, 3), PRESENT)
def test_signal_has_each_window_before_the_next_clock_and_account_each_day_before_its_open_bars(
    days: int, present: list[list[str]]
) -> None:
    signal = account = -1
    for step in steps_of(windows_of(days, present), days):
        match step:
            case Await("signal", window):
                signal = window
            case Await("account", window):
                account = window
            case Announce(clock) if clock.kind is ClockKind.ADVANCED:
                assert signal == clock.window - 1 or clock.window == 1
            case Announce(clock) if clock.window:
                assert signal == clock.window
            case Publish(events):
                for event in events:
                    if isinstance(event, DailyBar) and event.state is BarState.OPEN:
                        day_index = (event.day - DAY).days
                        assert account >= 4 * day_index
                    elif isinstance(event, DailyBar):
                        assert signal == event.window


@given(st.integers(1, 3), PRESENT)
def test_trades_are_on_the_bus_one_window_before_the_clock_and_each_day_has_its_bars(
    days: int, present: list[list[str]]
) -> None:
    windows = windows_of(days, present)
    through_ms = 0
    trades: dict[tuple[str, int], int] = {}
    bars: list[DailyBar] = []
    total = 0
    for step in steps_of(windows, days):
        if isinstance(step, Publish):
            assert len({event.symbol for event in step.events}) == len(step.events)
            for event in step.events:
                if isinstance(event, DailyBar):
                    bars.append(event)
                else:
                    assert event.times_ms[0] >= through_ms
                    trades[event.symbol, event.window] = len(event)
                    total += len(event)
        elif isinstance(step, Announce):
            through_ms = step.clock.trades_through_ms
            assert step.clock.trades_total == total
    assert trades == {(b.symbol, window.number): len(b) for window in windows for b in window.batches}
    traded = sorted({(b.symbol, SESSION.day_of(window.start_ms)) for window in windows for b in window.batches})
    for state in BarState:
        assert sorted((bar.symbol, bar.day) for bar in bars if bar.state is state) == traded


@given(st.integers(1, 3), PRESENT, st.data())
def test_a_script_begun_at_the_start_of_a_day_goes_on_with_the_same_steps(
    days: int, present: list[list[str]], data: st.DataObject
) -> None:
    windows = windows_of(days, present)
    whole = steps_of(windows, days)
    first = 4 * data.draw(st.integers(0, days - 1))
    if first == 0:
        return
    script = script_of(days)
    assert list(script.begin(windows[first], [])) == []
    later: list[Step] = []
    for current, ahead in zip(windows[first:], [*windows[first + 1 :], None], strict=True):
        later += script.play(current, ahead)
    described = [describe(step) for step in later]
    assert [describe(step) for step in whole][-len(described) :] == described


def describe(step: Step) -> str:
    """Return the step without the number of trades, which a restarted script learns from the bus."""
    if isinstance(step, Announce):
        return f"{step.clock.kind} {step.clock.window} {step.clock.now_ms} {step.clock.trades_through_ms}"
    if isinstance(step, Publish):
        return " ".join(f"{type(event).__name__}:{event.symbol}:{event.window}" for event in step.events)
    return repr(step)


@given(st.integers(1, 2), PRESENT, st.data())
def test_what_the_bus_holds_is_told_from_what_it_lacks_after_any_number_of_messages(
    days: int, present: list[list[str]], data: st.DataObject
) -> None:
    events = [
        event
        for step in steps_of(windows_of(days, present), days)
        if isinstance(step, Publish)
        for event in step.events
    ]
    stored = data.draw(st.integers(0, len(events)))
    published = Published()
    for event in events[:stored]:
        published.note(event)
    assert [published.holds(event) for event in events] == [index < stored for index in range(len(events))]


def test_nobody_is_waited_for_who_does_not_take_part() -> None:
    windows = windows_of(2, [["A"]])
    assert not any(isinstance(step, Await) for step in steps_of(windows, 2, ()))
    assert {step.participant for step in steps_of(windows, 2, ("signal",)) if isinstance(step, Await)} == {"signal"}


def test_a_window_out_of_turn_is_refused() -> None:
    windows = windows_of(1, [["A"]])
    script = script_of(1)
    list(script.begin(windows[0], []))
    with pytest.raises(InvariantError, match="does not follow"):
        list(script.play(windows[0], windows[2]))


@given(st.lists(st.integers(0, 30), max_size=200).map(sorted), st.integers(1, 20))
def test_parts_hold_all_trades_in_order_and_no_two_begin_at_the_same_millisecond(times: list[int], limit: int) -> None:
    parts = list(parts_of(batch("A", times, 1), limit))
    assert [time for part in parts for time in part.times_ms.tolist()] == times
    starts = [int(part.times_ms[0]) for part in parts]
    assert len(set(starts)) == len(starts)
    assert all(len(part) <= limit or len(set(part.times_ms.tolist())) == 1 for part in parts)
