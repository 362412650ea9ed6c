"""Live trades of one symbol: once each, in order, gaps filled or known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit.model import PublicTrades
from breakwater_core.market import TradeBatch
from market_data_service.symbol_feed import Gap, SymbolFeed

MINUTE = 60_000


def trades(*rows: tuple[int, str], size: float = 1.0, block: tuple[str, ...] = ()) -> PublicTrades:
    count = len(rows)
    prices = np.array([float(1 + sum(map(ord, ident))) for _, ident in rows])
    return PublicTrades(
        batch=TradeBatch(
            "BTCUSDT",
            np.array([time for time, _ in rows], np.int64),
            prices,
            np.full(count, size),
            np.ones(count, np.int8),
        ),
        trade_ids=tuple(ident for _, ident in rows),
        are_block=np.array([ident in block for _, ident in rows], np.bool_),
    )


def times(batch: TradeBatch | None) -> list[int]:
    return [] if batch is None else batch.times_ms.tolist()


def test_a_trade_that_comes_twice_is_published_once() -> None:
    feed = SymbolFeed("BTCUSDT")
    assert times(feed.received(trades((1, "a"), (2, "b")))) == [1, 2]
    assert times(feed.received(trades((2, "b"), (2, "c")))) == [2]
    assert feed.dropped.duplicate == 1


def test_a_block_trade_and_a_trade_that_comes_late_are_dropped_and_counted() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.received(trades((5, "a"), (6, "x"), block=("x",)))
    assert feed.last_ms == 5
    assert feed.received(trades((4, "b"))) is None
    assert (feed.dropped.block, feed.dropped.late) == (1, 1)


def test_frames_wait_while_a_gap_is_filled_and_follow_the_missing_trades() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.received(trades((1, "a"), (2, "b")))
    assert feed.hold()
    assert not feed.hold()
    assert feed.received(trades((6, "f"), (7, "g"))) is None
    recent = trades((2, "b"), (3, "c"), (4, "d"), (6, "f"))
    assert feed.gap_before(recent) is None
    released = feed.release(recent, gap=None)
    assert times(released.recovered) == [3, 4, 6]
    assert [times(batch) for batch in released.batches] == [[3, 4, 6], [7]]
    assert not feed.is_held


def test_recent_trades_that_do_not_reach_back_leave_a_gap() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.received(trades((100, "a")))
    feed.connected(50)
    assert feed.gap_before(trades((500, "m"), (600, "n"))) == Gap(100, 500)
    assert feed.gap_before(trades()) == Gap(100, 101)
    feed.hold()
    feed.release(trades((500, "m"), (600, "n")), gap=Gap(100, 500))
    assert feed.covered_from_ms == 500


def test_recent_trades_older_than_the_newest_known_reach_back() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.received(trades((100, "a")))
    assert feed.gap_before(trades((99, "z"), (600, "n"))) is None


def test_a_restarted_feed_knows_the_trades_on_the_bus_by_time_price_and_size() -> None:
    before = SymbolFeed("BTCUSDT")
    batch = before.received(trades((1, "a"), (2, "b"), (2, "c")))
    assert batch is not None
    feed = SymbolFeed("BTCUSDT")
    feed.restore(batch)
    feed.hold()
    recent = trades((2, "b"), (2, "c"), (2, "d"), (3, "e"))
    assert feed.gap_before(recent) is None
    released = feed.release(recent, gap=None)
    assert released.recovered is not None
    assert released.recovered.prices.tolist() == recent.batch.prices[2:].tolist()


def test_a_restarted_feed_takes_trades_before_a_known_one_of_the_same_millisecond_for_known() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.restore(trades((2, "b")).batch)
    feed.hold()
    released = feed.release(trades((1, "z"), (2, "a"), (2, "b"), (2, "c")), gap=None)
    assert released.recovered is not None
    assert released.recovered.prices.tolist() == trades((2, "c")).batch.prices.tolist()


def test_a_feed_that_never_had_a_trade_has_no_gap_and_publishes_no_history() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.hold()
    feed.received(trades((9, "i")))
    recent = trades((1, "a"), (9, "i"))
    assert feed.gap_before(recent) is None
    assert [times(batch) for batch in feed.release(recent, gap=None).batches] == [[9]]


def test_volumes_that_agree_prove_that_nothing_was_traded_in_a_gap() -> None:
    feed = SymbolFeed("BTCUSDT")
    feed.received(trades((10, "a"), (20, "b")))
    recent = trades((3 * MINUTE + 5, "c"))
    gap = feed.gap_before(recent)
    assert gap == Gap(20, 3 * MINUTE + 5)
    quiet = {0: 2.0, MINUTE: 0.0, 2 * MINUTE: 0.0, 3 * MINUTE: 1.0}
    assert feed.is_proved_whole(gap, recent, quiet)
    assert not feed.is_proved_whole(gap, recent, quiet | {MINUTE: 0.5})
    assert not feed.is_proved_whole(gap, recent, quiet | {0: 2.5})
    assert not feed.is_proved_whole(gap, recent, {0: 2.0})


@given(st.data())
def test_whatever_is_lost_of_the_stream_a_reaching_answer_restores_every_trade_once_and_in_order(
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(2, 40))
    steps = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    rows = [(int(time), f"id{n}") for n, time in enumerate(np.cumsum(steps))]
    cut = data.draw(st.integers(1, count - 1))
    resume = data.draw(st.integers(cut, count))
    answer_from = data.draw(st.integers(0, cut - 1))
    answer_to = data.draw(st.integers(resume, count))
    feed = SymbolFeed("BTCUSDT")
    published = times(feed.received(trades(*rows[:cut])))
    feed.hold()
    for row in rows[resume:]:
        assert feed.received(trades(row)) is None
    recent = trades(*rows[answer_from:answer_to])
    assert feed.gap_before(recent) is None
    for batch in feed.release(recent, gap=None).batches:
        published += times(batch)
    assert published == [time for time, _ in rows]
