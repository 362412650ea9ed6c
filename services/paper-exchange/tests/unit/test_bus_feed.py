"""What the exchange takes from the bus in a replay."""

from dataclasses import dataclass, field
from datetime import date

import numpy as np

from breakwater_core.market import Clock, ClockKind, TradeBatch
from breakwater_runtime import codec
from breakwater_runtime.readers import Delivery
from paper_exchange_service.bus_feed import feed_from

DAY = date(2024, 1, 1)


@dataclass
class Sink:
    """Writes down what it is fed."""

    trades: list[tuple[str, int, int]] = field(default_factory=list)
    clocks: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False

    def feed_trades(self, batch: TradeBatch) -> None:
        self.trades.append((batch.symbol, batch.window, int(batch.times_ms[0])))

    def feed_clock(self, trades_through_ms: int, now_ms: int) -> None:
        self.clocks.append((trades_through_ms, now_ms))

    def end(self) -> None:
        self.ended = True


def delivery(event: TradeBatch | Clock, run_id: str = "run") -> Delivery:
    message = codec.encode(event, run_id)
    return Delivery(message.subject, message.payload, 1)


def batch(window: int, first_ms: int, symbol: str = "BTCUSDT") -> Delivery:
    times = np.array([first_ms, first_ms + 1], np.int64)
    return delivery(TradeBatch(symbol, times, np.ones(2), np.ones(2), np.ones(2, np.int8), window))


def test_every_message_of_a_window_is_fed_and_a_repeat_is_not() -> None:
    sink = Sink()
    handle = feed_from("run", sink)
    for message in (batch(1, 10), batch(1, 20), batch(1, 10), batch(1, 20), batch(2, 30), batch(1, 20), batch(2, 40)):
        handle(message)
    assert sink.trades == [("BTCUSDT", 1, 10), ("BTCUSDT", 1, 20), ("BTCUSDT", 2, 30), ("BTCUSDT", 2, 40)]


def test_symbols_are_told_apart_and_other_runs_passed_over() -> None:
    sink = Sink()
    handle = feed_from("run", sink)
    handle(batch(1, 10))
    handle(batch(1, 5, "ETHUSDT"))
    other = codec.encode(codec.decode("md.trades.bybit.BTCUSDT", batch(2, 50).payload).value, "another")
    handle(Delivery(other.subject, other.payload, 2))
    assert sink.trades == [("BTCUSDT", 1, 10), ("ETHUSDT", 1, 5)]


def test_the_end_of_the_recording_is_passed_on() -> None:
    sink = Sink()
    handle = feed_from("run", sink)
    handle(delivery(Clock(ClockKind.ADVANCED, 5, 9, DAY, 1, 2)))
    handle(delivery(Clock(ClockKind.ENDED, 9, 9, DAY, 2, 2)))
    assert sink.clocks == [(9, 5), (9, 9)]
    assert sink.ended
