"""Reading a recording: cursors, windows, days, fingerprints."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.parquet import RecordingWriter
from breakwater_recordings.parquet_file import ROWS_PER_GROUP, write_trade_file
from breakwater_recordings.parts import RecordedPart
from breakwater_recordings.recording import SPANS_MS, Recording
from breakwater_recordings.sources import open_recording

DAY_MS = 1_704_067_200_000  # 2024-01-01T00:00Z
HOUR_MS = 3_600_000
HOURS_24_MS = 24 * HOUR_MS
END_MS = 2**61

type MakeBatch = Callable[..., TradeBatch]


def part_of(batch: TradeBatch, chunk_rows: int = 3, *, path: str = "part") -> RecordedPart:
    """Return a part in memory that is read in chunks of `chunk_rows`, leaving out chunks before the wanted time."""

    def read(from_ms: int) -> Iterator[TradeBatch]:
        for start in range(0, len(batch), chunk_rows):
            rows = slice(start, start + chunk_rows)
            if batch.times_ms[rows][-1] >= from_ms:
                yield TradeBatch(
                    batch.symbol, batch.times_ms[rows], batch.prices[rows], batch.sizes[rows], batch.taker_sides[rows]
                )

    first_ms, last_ms = int(batch.times_ms[0]), int(batch.times_ms[-1])
    return RecordedPart(
        path=Path(path),
        symbol=batch.symbol,
        start_ms=first_ms,
        last_ms=last_ms,
        trades=len(batch),
        covered=((first_ms, last_ms + 1),),
        may_share_last_ms=True,
        observed=False,
        read=read,
    )


def joined(batches: Sequence[TradeBatch], name: str) -> list[float]:
    return [value for batch in batches for value in getattr(batch, name).tolist()]


TIMES = st.lists(st.integers(0, 60), min_size=1, max_size=30).map(sorted)


@given(TIMES, TIMES, st.lists(st.integers(0, 140), max_size=8).map(sorted), st.integers(1, 5))
def test_cutting_at_any_times_gives_every_trade_once_on_its_side_of_the_cut(
    make_batch: MakeBatch, first: list[int], second: list[int], cuts: list[int], chunk_rows: int
) -> None:
    times = [*first, *(time_ms + 61 for time_ms in second)]
    whole = make_batch(times, sizes=range(len(times)))
    parts = [
        part_of(make_batch(times[: len(first)], sizes=range(len(first))), chunk_rows),
        part_of(make_batch(times[len(first) :], sizes=range(len(first), len(times))), chunk_rows),
    ]
    reader = Recording(parts, session=Session()).reader("BTCUSDT")

    taken = [reader.take_until(cut) for cut in [*cuts, END_MS]]

    assert joined(taken, "sizes") == whole.sizes.tolist()
    for start, end, batch in zip([-1, *cuts], [*cuts, END_MS], taken, strict=True):
        assert all(start <= time_ms < end for time_ms in batch.times_ms.tolist())


@given(
    TIMES,
    st.lists(st.tuples(st.booleans(), st.integers(0, 65)), max_size=8).map(
        lambda moves: sorted(moves, key=lambda move: move[1])
    ),
    st.integers(1, 5),
)
def test_skipping_passes_over_exactly_the_trades_in_between(
    make_batch: MakeBatch, times: list[int], moves: list[tuple[bool, int]], chunk_rows: int
) -> None:
    batch = make_batch(times)
    priced = list(zip(times, batch.prices.tolist(), strict=True))
    reader = Recording([part_of(batch, chunk_rows)], session=Session()).reader("BTCUSDT")
    position, taken, expected = 0, [], []
    for skips, to_ms in moves:
        if skips:
            reader.skip_to(to_ms)
            upcoming = next(((time_ms, price) for time_ms, price in priced if time_ms >= to_ms), None)
            assert reader.peek(END_MS) == upcoming
        else:
            taken += reader.take_until(to_ms).times_ms.tolist()
            expected += [time_ms for time_ms in times if position <= time_ms < to_ms]
        position = to_ms

    assert taken == expected


def test_a_reader_cannot_go_back(make_batch: MakeBatch) -> None:
    reader = Recording([part_of(make_batch([1, 2, 3]))], session=Session()).reader("BTCUSDT")
    reader.take_until(3)

    with pytest.raises(InvalidInputError, match="cannot go back to 2"):
        reader.take_until(2)
    with pytest.raises(InvalidInputError, match="cannot go back to 2"):
        reader.skip_to(2)


def test_a_later_part_is_not_opened_before_its_time(make_batch: MakeBatch) -> None:
    opened: list[str] = []

    def noted(name: str, part: RecordedPart) -> RecordedPart:
        def read(from_ms: int) -> Iterator[TradeBatch]:
            opened.append(name)
            return part.read(from_ms)

        values = {field: getattr(part, field) for field in RecordedPart.__slots__}
        return RecordedPart(**values | {"read": read})

    parts = [noted("first", part_of(make_batch([1, 2]))), noted("second", part_of(make_batch([50, 51])))]
    reader = Recording(parts, session=Session()).reader("BTCUSDT")

    reader.take_until(50)
    assert opened == ["first"]
    reader.take_until(51)
    assert opened == ["first", "second"]


@settings(max_examples=40)
@given(
    st.sampled_from([7 * 60_000 + 30_000, *SPANS_MS, HOURS_24_MS]).filter(lambda span: HOURS_24_MS % span == 0),
    st.lists(st.integers(0, 3 * HOURS_24_MS), min_size=1, max_size=40).map(sorted),
    st.lists(st.integers(0, 3 * HOURS_24_MS), max_size=40).map(sorted),
    st.integers(0, HOURS_24_MS),
)
def test_windows_of_any_span_hold_the_same_trades_and_end_on_the_span(
    make_batch: MakeBatch, span_ms: int, bitcoin: list[int], ether: list[int], start: int
) -> None:
    session = Session(start=time(9), timezone="Asia/Seoul")  # the same days as UTC
    parts = [part_of(make_batch([DAY_MS + offset for offset in bitcoin]))]
    if ether:
        parts.append(part_of(make_batch([DAY_MS + offset for offset in ether], symbol="ETHUSDT")))
    recording = Recording(parts, session=session)
    start_ms, end_ms = DAY_MS + start, DAY_MS + 3 * HOURS_24_MS

    windows = list(recording.windows(start_ms, end_ms, span_ms))

    assert [window.number for window in windows] == list(range(1, len(windows) + 1))
    assert windows[0].start_ms == start_ms
    assert windows[-1].end_ms == end_ms
    assert all((window.end_ms - DAY_MS) % span_ms == 0 for window in windows)
    assert all(before.end_ms == after.start_ms for before, after in pairwise(windows))
    for symbol, offsets in (("BTCUSDT", bitcoin), ("ETHUSDT", ether)):
        batches = [batch for window in windows for batch in window.batches if batch.symbol == symbol]
        wanted = [DAY_MS + offset for offset in offsets if start <= offset < 3 * HOURS_24_MS]
        assert joined(batches, "times_ms") == wanted
    for window in windows:
        assert all(batch.window == window.number for batch in window.batches)
        assert all(len(batch) and window.start_ms <= batch.times_ms[0] for batch in window.batches)
        assert all(batch.times_ms[-1] < window.end_ms for batch in window.batches)


def test_windows_without_trades_are_there_too(make_batch: MakeBatch) -> None:
    recording = Recording([part_of(make_batch([DAY_MS, DAY_MS + 5 * HOUR_MS]))], session=Session())

    windows = list(recording.windows(DAY_MS, DAY_MS + 6 * HOUR_MS, HOUR_MS))

    assert [len(window) for window in windows] == [1, 0, 0, 0, 0, 1]


def test_each_end_of_a_day_is_the_end_of_a_window_when_the_clock_changes(make_batch: MakeBatch) -> None:
    session = Session(timezone="Europe/Berlin")
    start_ms, end_ms = session.day_start_ms(date(2024, 3, 30)), session.day_start_ms(date(2024, 4, 2))
    recording = Recording([part_of(make_batch([start_ms, end_ms]))], session=session)

    ends_ms = [window.end_ms for window in recording.windows(start_ms, end_ms, 6 * HOUR_MS)]

    assert {session.day_end_ms(date(2024, 3, 30)), session.day_end_ms(date(2024, 3, 31)), end_ms} <= set(ends_ms)
    lengths = np.diff([start_ms, *ends_ms]) // HOUR_MS
    assert lengths.tolist() == [6, 6, 6, 6, 6, 6, 6, 5, 6, 6, 6, 6]


@pytest.mark.parametrize("span_ms", [0, -1, 7 * HOUR_MS, 2 * HOURS_24_MS])
def test_a_span_that_does_not_divide_the_day_is_refused(span_ms: int, make_batch: MakeBatch) -> None:
    recording = Recording([part_of(make_batch([1]))], session=Session())

    with pytest.raises(InvalidInputError, match="must divide 24 hours"):
        recording.windows(0, 10, span_ms)


def test_an_empty_range_of_windows_is_refused(make_batch: MakeBatch) -> None:
    recording = Recording([part_of(make_batch([1]))], session=Session())

    with pytest.raises(InvalidInputError, match="the range is empty"):
        recording.windows(10, 10, HOUR_MS)


def test_the_suggested_span_is_the_longest_that_keeps_to_the_target(make_batch: MakeBatch) -> None:
    times = range(DAY_MS, DAY_MS + HOURS_24_MS, 60_000)
    recording = Recording([part_of(make_batch(times))], session=Session())

    def suggested(target: int) -> int:
        return recording.suggested_span_ms(DAY_MS, DAY_MS + HOURS_24_MS, target)

    assert suggested(100_000) == 6 * HOUR_MS
    assert suggested(100) == HOUR_MS
    assert suggested(61) == HOUR_MS
    assert suggested(20) == 15 * 60_000
    assert suggested(1) == 60_000
    with pytest.raises(InvalidInputError, match="at least 1"):
        suggested(0)


def test_files_of_a_symbol_are_joined_in_time_order_and_their_contents_name_the_recording(
    tmp_path: Path, make_batch: MakeBatch
) -> None:
    paths = []
    for index, name in enumerate(("b", "a")):
        start_ms = DAY_MS + index * 100
        path = tmp_path / f"{name}.parquet"
        write_trade_file(
            path,
            [make_batch([start_ms, start_ms + 50])],
            symbol="BTCUSDT",
            venue="bybit",
            day=date(2024, 1, 1),
            coverage=lambda start_ms=start_ms: [(start_ms, start_ms + 100)],
        )
        paths.append(str(path))

    forwards = open_recording(paths, session=Session())
    backwards = open_recording(paths[::-1], session=Session())
    alone = open_recording(paths[:1], session=Session())

    times = forwards.reader("BTCUSDT").take_until(END_MS).times_ms - DAY_MS
    assert times.tolist() == [0, 50, 100, 150]
    assert forwards.coverage["BTCUSDT"].intervals == ((DAY_MS, DAY_MS + 200),)
    assert forwards.fingerprint == backwards.fingerprint != alone.fingerprint
    assert len(forwards.fingerprint) == 64


@pytest.mark.parametrize("second", ["timestamp,open,high,low,close,volume\n{a},1,1,1,1,1\n{b},1,1,1,1,1\n", None])
def test_files_of_a_symbol_that_overlap_are_refused_by_name(second: str | None, tmp_path: Path) -> None:
    header = "timestamp,open,high,low,close,volume"
    first = tmp_path / "BTCUSDT_1.csv"
    first.write_text(f"{header}\n{DAY_MS},1,1,1,1,1\n{DAY_MS + 60_000},1,1,1,1,1\n")
    other = tmp_path / "BTCUSDT_2.csv"
    other.write_text(second.format(a=DAY_MS + 60_000, b=DAY_MS + 120_000) if second else first.read_text())

    with pytest.raises(InvalidInputError) as raised:
        open_recording([str(first), str(other)], session=Session())

    assert str(first) in str(raised.value)
    assert str(other) in str(raised.value)
    assert "overlap" in str(raised.value)


def test_a_copy_of_a_file_of_a_single_instant_is_refused(tmp_path: Path, make_batch: MakeBatch) -> None:
    for name in ("a", "b"):
        write_trade_file(
            tmp_path / f"{name}.parquet",
            [make_batch([DAY_MS])],
            symbol="BTCUSDT",
            venue="bybit",
            day=date(2024, 1, 1),
            coverage=list,
        )

    with pytest.raises(InvalidInputError, match="overlap"):
        open_recording([str(tmp_path)], session=Session())


@pytest.mark.parametrize(
    ("sources", "symbols", "what"),
    [
        ([], None, "no source was given"),
        (["{folder}/absent.csv"], None, "no such file or folder"),
        (["{folder}/empty"], None, "no recording beneath"),
        (["{folder}/notes.txt"], None, "unknown type of file"),
        (["BTCUSDT={folder}/empty"], None, "is a folder"),
        (["{folder}/BTCUSDT.csv"], ["SOLUSDT", "BTCUSDT"], "no source holds SOLUSDT; they hold BTCUSDT"),
    ],
)
def test_sources_that_hold_nothing_are_refused(
    sources: list[str], symbols: list[str] | None, what: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    candles = f"timestamp,open,high,low,close,volume\n{DAY_MS},1,1,1,1,1\n{DAY_MS + 60_000},1,1,1,1,1\n"
    (tmp_path / "BTCUSDT.csv").write_text(candles)

    with pytest.raises(InvalidInputError, match=what):
        open_recording([source.format(folder=tmp_path) for source in sources], session=Session(), symbols=symbols)


def test_only_wanted_symbols_are_kept_and_a_symbol_not_held_is_told(tmp_path: Path, make_batch: MakeBatch) -> None:
    with RecordingWriter(tmp_path) as writer:
        for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
            writer.write(make_batch([DAY_MS], symbol=symbol))

    recording = open_recording([str(tmp_path)], session=Session(), symbols=["SOLUSDT", "BTCUSDT"])

    assert recording.symbols == ("BTCUSDT", "SOLUSDT")
    with pytest.raises(InvalidInputError, match="does not hold ETHUSDT; it holds BTCUSDT, SOLUSDT"):
        recording.reader("ETHUSDT")
    assert not recording.is_complete("ETHUSDT", date(2024, 1, 1))


def test_days_are_those_of_the_session(make_batch: MakeBatch) -> None:
    session = Session(timezone="America/New_York")
    times = [round(datetime(2024, 1, day, 3, tzinfo=UTC).timestamp() * 1000) for day in (2, 4)]
    recording = Recording([part_of(make_batch([time_ms])) for time_ms in times], session=session)

    assert recording.days == recording.days_of("BTCUSDT") == [date(2024, 1, 1), date(2024, 1, 3)]


def test_memory_does_not_grow_with_the_length_of_the_recording(tmp_path: Path) -> None:
    def peaks(groups: int) -> tuple[int, int]:
        path = tmp_path / f"{groups}" / "trades.parquet"
        rows = ROWS_PER_GROUP
        batches = (
            TradeBatch(
                "BTCUSDT",
                DAY_MS + np.arange(group * rows, (group + 1) * rows, dtype=np.int64) * 5,
                np.full(rows, 100.0),
                np.ones(rows),
                np.zeros(rows, dtype=np.int8),
            )
            for group in range(groups)
        )
        write_trade_file(path, batches, symbol="BTCUSDT", venue="bybit", day=date(2024, 1, 1), coverage=list)
        recording = open_recording([str(path)], session=Session())
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        read = arrow_peak = 0
        for window in recording.windows(recording.first_ms, recording.last_ms + 1, 60_000):
            read += len(window)
            arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - before)
        python_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert read == groups * rows
        return arrow_peak, python_peak

    short, long = peaks(3), peaks(24)

    row_group_bytes = ROWS_PER_GROUP * 25
    assert long[0] <= short[0] + row_group_bytes // 4
    assert long[0] < 3 * row_group_bytes
    assert long[1] < short[1] + row_group_bytes // 4
