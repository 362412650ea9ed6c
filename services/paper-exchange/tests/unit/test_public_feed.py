"""Public frames that depend on the moment: a bar's end, a quiet book."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from paper_exchange_service.public_feed import PublicFeed


class Reader:
    """A connection that keeps what it is sent."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.frames: list[dict[str, Any]] = []

    def send(self, frame: dict[str, Any]) -> None:
        self.frames.append(json.loads(json.dumps(frame)))

    def send_text(self, text: str) -> None:
        self.frames.append(json.loads(text))


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def feed(tools: SimpleNamespace) -> PublicFeed:
    engine = tools.engine()
    engine.feed(tools.batch("BTCUSDT", [(1_000, 30_000.0), (59_000, 30_001.5)]))
    return PublicFeed(engine, lambda: 59_000)


def test_at_a_bars_end_one_frame_holds_the_closed_row_and_the_new_one(feed: PublicFeed, reader: Reader) -> None:
    feed.join("kline.1.BTCUSDT", reader)
    feed.tick(59_500)
    feed.tick(60_200)
    open_frame, rollover = reader.frames
    assert [row["confirm"] for row in open_frame["data"]] == [False]
    closed, fresh = rollover["data"]
    assert (closed["start"], closed["close"], closed["confirm"]) == (0, "30001.5", True)
    assert (fresh["start"], fresh["open"], fresh["volume"], fresh["confirm"]) == (60_000, "30001.5", "0", False)


def test_a_book_of_one_level_is_repeated_after_three_quiet_seconds_with_the_same_update(
    feed: PublicFeed, reader: Reader
) -> None:
    feed.join("orderbook.1.BTCUSDT", reader)
    for now_ms in (59_100, 61_900, 62_000, 62_100, 65_000):
        feed.tick(now_ms)
    assert [(frame["ts"], frame["type"], frame["data"]["u"]) for frame in reader.frames] == [
        (59_000, "snapshot", 1),
        (62_000, "snapshot", 1),
        (65_000, "snapshot", 1),
    ]


def test_a_deep_book_sends_changes_that_delete_with_size_zero(
    feed: PublicFeed, reader: Reader, tools: SimpleNamespace
) -> None:
    feed.join("orderbook.50.BTCUSDT", reader)
    feed._engine.feed(tools.batch("BTCUSDT", [(59_500, 30_001.6)]))
    feed.tick(59_600)
    snapshot, delta = reader.frames
    assert (snapshot["type"], len(snapshot["data"]["b"])) == ("snapshot", 50)
    assert (delta["type"], delta["data"]["u"]) == ("delta", snapshot["data"]["u"] + 1)
    assert [snapshot["data"]["b"][-1][0], "0"] in delta["data"]["b"]
    assert delta["data"]["b"][0][0] == "30001.6"


def test_tickers_send_only_what_changed(feed: PublicFeed, reader: Reader, tools: SimpleNamespace) -> None:
    feed.join("tickers.BTCUSDT", reader)
    feed.tick(59_100)
    feed._engine.feed(tools.batch("BTCUSDT", [(59_500, 30_001.6)]))
    feed.tick(59_600)
    snapshot, delta = reader.frames
    assert snapshot["data"]["lastPrice"] == "30001.5"
    assert delta["data"]["lastPrice"] == "30001.6"
    assert {"highPrice24h", "fundingRate"}.isdisjoint(delta["data"]) or delta["data"]["highPrice24h"] == "30001.6"
    assert "fundingRate" not in delta["data"]


def test_nothing_is_sent_to_whoever_left(feed: PublicFeed, reader: Reader, tools: SimpleNamespace) -> None:
    feed.join("publicTrade.BTCUSDT", reader)
    feed.leave_all(reader)
    feed.traded(tools.batch("BTCUSDT", [(59_500, 30_001.6)]), 59_500)
    assert reader.frames == []
    assert reader.topics == set()
