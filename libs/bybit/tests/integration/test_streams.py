"""Supervised streams against a real WebSocket server that drops, refuses, babbles and answers at once."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from breakwater_bybit.errors import CredentialError
from breakwater_bybit.stream_socket import SocketSettings, StreamFrame
from breakwater_bybit.streams import (
    Connected,
    Disconnected,
    FrameFailed,
    PrivateStream,
    PublicStream,
    Stream,
    StreamSettings,
    SubscriptionRefused,
)
from breakwater_core.errors import InvalidInputError

QUICK = StreamSettings(
    socket=SocketSettings(connect_timeout_s=2, ping_interval_s=5, ping_timeout_s=4),
    setup_timeout_s=5,
    stale_after_s=10,
    first_pause_s=0.02,
    longest_pause_s=0.1,
)
PINGING = StreamSettings(
    socket=SocketSettings(ping_interval_s=0.2, ping_timeout_s=0.15), stale_after_s=5, first_pause_s=0.02
)
TRADE = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": []}


class Owner:
    """Collects what a stream hands over, and waits for it."""

    def __init__(self) -> None:
        self.frames: list[StreamFrame] = []
        self.states: list[Any] = []
        self.fails_on: Callable[[StreamFrame], bool] = lambda _: False
        self._changed = asyncio.Event()

    def on_frame(self, frame: StreamFrame) -> None:
        if self.fails_on(frame):
            raise RuntimeError("the owner's fault")
        self.frames.append(frame)
        self._changed.set()

    def on_state(self, state: Any) -> None:
        self.states.append(state)
        self._changed.set()

    def of(self, kind: type) -> list[Any]:
        return [state for state in self.states if isinstance(state, kind)]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(8):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def _stream_threads() -> set[threading.Thread]:
    threads = threading.enumerate()
    return {
        thread
        for thread in threads
        if thread.name.startswith("bybit-stream") or "_send_ping" in thread.name or isinstance(thread, threading.Timer)
    }


@asynccontextmanager
async def _running(stream: Stream) -> AsyncIterator[asyncio.Task[None]]:
    """Run the stream, close it, and insist that it ends soon and leaves no thread."""
    task = asyncio.create_task(stream.run())
    try:
        yield task
    finally:
        began = time.monotonic()
        await stream.close()
        with suppress(CredentialError, asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 3
        for thread in _stream_threads():
            thread.join(1)
        assert _stream_threads() == set()


def _public(server: Any, owner: Owner, **changes: Any) -> PublicStream:
    options = {"settings": QUICK, "channels": ("publicTrade",)} | changes
    return PublicStream(server.url, ["BTCUSDT"], owner.on_frame, owner.on_state, **options)


def _private(server: Any, owner: Owner, key: str, secret: str, settings: StreamSettings = QUICK) -> PrivateStream:
    return PrivateStream(server.url, key, secret, owner.on_frame, owner.on_state, settings=settings)


async def test_public_stream_subscribes_and_delivers_in_order(stream_exchange: Any) -> None:
    owner = Owner()
    async with _running(_public(stream_exchange, owner, channels=("publicTrade", "kline.D"))):
        await owner.until(lambda: owner.of(Connected))
        for number in range(200):
            await stream_exchange.push(TRADE | {"ts": number})
        await owner.until(lambda: len(owner.frames) == 200)
    assert [frame.payload["ts"] for frame in owner.frames] == list(range(200))
    assert owner.states == [Connected(1)]
    assert stream_exchange.paths == ["/v5/public/linear"]
    (subscription,) = [request for request in stream_exchange.requests if request["op"] == "subscribe"]
    assert subscription["args"] == ["publicTrade.BTCUSDT", "kline.D.BTCUSDT"]


async def test_private_stream_logs_in_before_it_subscribes(stream_exchange: Any, key: str, secret: str) -> None:
    owner = Owner()
    async with _running(_private(stream_exchange, owner, key, secret)):
        await owner.until(lambda: owner.of(Connected))
        await stream_exchange.push({"topic": "order", "creationTime": 1, "data": []})
        await owner.until(lambda: owner.frames)
    login, subscription = stream_exchange.requests[:2]
    assert (login["op"], login["args"][0]) == ("auth", key)
    assert login["args"][1] - time.time() * 1000 > 5_000
    assert (subscription["op"], subscription["args"]) == ("subscribe", ["order", "execution", "position", "wallet"])


async def test_dropped_connection_is_made_anew_and_told(stream_exchange: Any) -> None:
    owner = Owner()
    async with _running(_public(stream_exchange, owner)):
        for number in (1, 2, 3):
            await owner.until(lambda number=number: Connected(number) in owner.states)
            await stream_exchange.push(TRADE)
            await owner.until(lambda number=number: len(owner.frames) == number)
            if number < 3:
                stream_exchange.cut()
    assert [frame.connection for frame in owner.frames] == [1, 2, 3]
    assert [state.was_connected for state in owner.of(Disconnected)] == [True, True]
    assert all(state.reason for state in owner.of(Disconnected))


async def test_refused_connection_is_tried_with_pauses_until_the_server_is_back(
    stream_exchange: Any, free_port: int
) -> None:
    owner = Owner()
    settings = StreamSettings(socket=QUICK.socket, stale_after_s=10, first_pause_s=0.05, longest_pause_s=0.2)
    stream = PublicStream(f"ws://127.0.0.1:{free_port}", ["BTCUSDT"], owner.on_frame, owner.on_state, settings=settings)
    began = time.monotonic()
    async with _running(stream):
        await owner.until(lambda: len(owner.of(Disconnected)) == 5)
        took_s = time.monotonic() - began
        failed = owner.of(Disconnected)
        assert took_s >= sum(state.retry_in_s for state in failed[:4])
        assert all("ConnectionRefused" in state.reason and not state.was_connected for state in failed)
        longest = [0.05, 0.1, 0.2, 0.2, 0.2]
        assert all(top / 2 <= state.retry_in_s <= top for top, state in zip(longest, failed, strict=True))
        await stream_exchange.stop()
        await stream_exchange.start(free_port)
        await owner.until(lambda: owner.of(Connected))


async def test_server_that_accepts_and_drops_at_once_is_not_hammered(stream_exchange: Any) -> None:
    owner = Owner()

    async def drop(connection: Any) -> None:
        connection.transport.abort()

    stream_exchange.on_connect = drop
    settings = StreamSettings(socket=QUICK.socket, stale_after_s=10, first_pause_s=0.1, longest_pause_s=0.4)
    began = time.monotonic()
    async with _running(_public(stream_exchange, owner, settings=settings)):
        await owner.until(lambda: len(owner.of(Disconnected)) == 4)
        took_s = time.monotonic() - began
    assert took_s >= 0.05 + 0.1 + 0.2
    assert stream_exchange.connections <= 5


async def test_garbage_is_told_and_survived(stream_exchange: Any) -> None:
    owner = Owner()
    async with _running(_public(stream_exchange, owner)):
        await owner.until(lambda: owner.of(Connected))
        for garbage in ("{not json", "[]", "17", '"text"', '{"op": "dance"}', "{}", "[" * 100_000):
            await stream_exchange.push(garbage)
        await stream_exchange.push(TRADE)
        await owner.until(lambda: owner.frames and len(owner.of(FrameFailed)) == 7)
    assert stream_exchange.connections == 1


async def test_exception_in_the_owners_handler_loses_one_frame_only(stream_exchange: Any) -> None:
    owner = Owner()
    owner.fails_on = lambda frame: frame.payload["ts"] == 2
    async with _running(_public(stream_exchange, owner)):
        await owner.until(lambda: owner.of(Connected))
        for number in (1, 2, 3):
            await stream_exchange.push(TRADE | {"ts": number})
        await owner.until(lambda: len(owner.frames) == 2)
    assert [frame.payload["ts"] for frame in owner.frames] == [1, 3]
    (failed,) = owner.of(FrameFailed)
    assert (failed.topic, failed.reason) == ("publicTrade.BTCUSDT", "RuntimeError: the owner's fault")
    assert stream_exchange.connections == 1


async def test_refused_login_is_raised_and_not_repeated(stream_exchange: Any, key: str, secret: str) -> None:
    stream_exchange.accepts_login = False
    owner = Owner()
    async with _running(_private(stream_exchange, owner, key, secret)) as task:
        with pytest.raises(CredentialError, match="refuses the login") as caught:
            await asyncio.wait_for(task, 3)
    assert stream_exchange.connections == 1
    assert key not in str(caught.value)
    assert secret not in str(caught.value)


async def test_unanswered_login_is_tried_again(stream_exchange: Any, key: str, secret: str) -> None:
    async def silence(connection: Any) -> None:
        async for _ in connection:
            continue

    stream_exchange.on_connect = silence
    owner = Owner()
    settings = StreamSettings(socket=QUICK.socket, stale_after_s=10, setup_timeout_s=0.2, first_pause_s=0.02)
    async with _running(_private(stream_exchange, owner, key, secret, settings)):
        await owner.until(lambda: owner.of(Disconnected))
        assert "did not answer the login" in owner.of(Disconnected)[0].reason
        stream_exchange.on_connect = None
        await owner.until(lambda: owner.of(Connected))


async def test_answers_within_microseconds_are_not_lost(stream_exchange: Any, key: str, secret: str) -> None:
    for _ in range(15):
        owner = Owner()
        async with _running(_private(stream_exchange, owner, key, secret)):
            await owner.until(lambda owner=owner: owner.states)
        assert owner.states == [Connected(1)]


async def test_data_before_the_acknowledgement_is_delivered(stream_exchange: Any) -> None:
    async def eager(connection: Any) -> None:
        request = json.loads(await connection.recv())
        await connection.send(json.dumps(TRADE))
        await connection.send(json.dumps({"success": True, "op": "subscribe", "req_id": request["req_id"]}))
        await connection.wait_closed()

    stream_exchange.on_connect = eager
    owner = Owner()
    async with _running(_public(stream_exchange, owner)):
        await owner.until(lambda: owner.frames and owner.of(Connected))


async def test_one_bad_topic_does_not_cost_the_others(stream_exchange: Any) -> None:
    stream_exchange.bad_topics = {"publicTrade.NOPEUSDT"}
    owner = Owner()
    stream = PublicStream(
        stream_exchange.url,
        ["BTCUSDT", "NOPEUSDT", "ETHUSDT"],
        owner.on_frame,
        owner.on_state,
        channels=("publicTrade",),
        settings=QUICK,
    )
    async with _running(stream):
        await owner.until(lambda: owner.of(Connected))
    (refused,) = owner.of(SubscriptionRefused)
    assert refused.topics == ("publicTrade.NOPEUSDT",)
    assert "handler not found" in refused.reason
    alone = [request["args"] for request in stream_exchange.requests if request["op"] == "subscribe"][1:]
    assert alone == [["publicTrade.BTCUSDT"], ["publicTrade.NOPEUSDT"], ["publicTrade.ETHUSDT"]]


async def test_long_list_of_topics_is_split(stream_exchange: Any) -> None:
    symbols = [f"LONGSYMBOLNAME{number:04}USDT" for number in range(1000)]
    owner = Owner()
    stream = PublicStream(
        stream_exchange.url, symbols, owner.on_frame, owner.on_state, channels=("publicTrade",), settings=QUICK
    )
    async with _running(stream):
        await owner.until(lambda: owner.of(Connected))
    requests = [request["args"] for request in stream_exchange.requests if request["op"] == "subscribe"]
    assert len(requests) == 2
    assert all(len(json.dumps(args)) < 21_000 for args in requests)
    assert [topic for args in requests for topic in args] == [f"publicTrade.{symbol}" for symbol in symbols]


async def test_idle_stream_is_kept_alive_by_pings(stream_exchange: Any) -> None:
    owner = Owner()
    async with _running(_public(stream_exchange, owner, settings=PINGING)):
        await stream_exchange.until(lambda: [request["op"] for request in stream_exchange.requests].count("ping") >= 3)


async def test_server_that_never_answers_is_left(free_port: int) -> None:
    owner = Owner()
    with socket.create_server(("127.0.0.1", free_port)):  # the kernel takes connections that nobody serves
        settings = StreamSettings(socket=QUICK.socket, stale_after_s=10, setup_timeout_s=0.3, first_pause_s=0.02)
        stream = PublicStream(
            f"ws://127.0.0.1:{free_port}", ["BTCUSDT"], owner.on_frame, owner.on_state, settings=settings
        )
        async with _running(stream):
            await owner.until(lambda: len(owner.of(Disconnected)) == 2)
    assert all("did not open the connection" in state.reason for state in owner.of(Disconnected))


async def test_silence_beyond_the_limit_counts_as_dead() -> None:
    """The backstop behind the pings; a real server cannot be silent for so long without missing one."""

    class Silent:
        heard_at = time.monotonic() - 100
        exited = False

    stream = PublicStream("ws://127.0.0.1:1", ["BTCUSDT"], print, print)
    silent: Any = Silent()
    with pytest.raises(Exception, match="nothing came for 100 s"):
        await asyncio.wait_for(stream._watch(silent, asyncio.Queue()), 1)


async def test_missing_pongs_end_a_connection(stream_exchange: Any) -> None:
    async def deaf(connection: Any) -> None:
        request = json.loads(await connection.recv())
        await connection.send(json.dumps({"success": True, "op": "subscribe", "req_id": request["req_id"]}))
        connection.transport.pause_reading()
        await connection.wait_closed()

    stream_exchange.on_connect = deaf
    owner = Owner()
    async with _running(_public(stream_exchange, owner, settings=PINGING)):
        await owner.until(lambda: any(state.was_connected for state in owner.of(Disconnected)))


async def test_closing_while_waiting_to_reconnect_is_prompt(free_port: int) -> None:
    owner = Owner()
    settings = StreamSettings(first_pause_s=20, longest_pause_s=20)
    stream = PublicStream(f"ws://127.0.0.1:{free_port}", ["BTCUSDT"], owner.on_frame, owner.on_state, settings=settings)
    async with _running(stream):
        await owner.until(lambda: owner.of(Disconnected))


async def test_cancelled_stream_lets_go_of_its_connection(stream_exchange: Any) -> None:
    owner = Owner()
    stream = _public(stream_exchange, owner)
    async with _running(stream) as task:
        await owner.until(lambda: owner.of(Connected))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stream_exchange.until(lambda: not stream_exchange.live)


async def test_handler_of_states_that_fails_does_not_stop_the_stream(stream_exchange: Any) -> None:
    owner = Owner()

    def fail(_: Any) -> None:
        raise RuntimeError("the owner's fault")

    stream = PublicStream(stream_exchange.url, ["BTCUSDT"], owner.on_frame, fail, settings=QUICK)
    async with _running(stream):
        await stream_exchange.until(lambda: stream_exchange.requests)
        await stream_exchange.push(TRADE)
        await owner.until(lambda: owner.frames)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SocketSettings(ping_interval_s=5, ping_timeout_s=5),
        lambda: SocketSettings(connect_timeout_s=0),
        lambda: StreamSettings(stale_after_s=30),
        lambda: StreamSettings(first_pause_s=0),
        lambda: PublicStream("https://stream.bybit.com", ["BTCUSDT"], print, print),
        lambda: PublicStream("wss://stream.bybit.com", ["BTCUSDT", "BTCUSDT"], print, print),
        lambda: PublicStream("wss://stream.bybit.com", [], print, print),
        lambda: PrivateStream("wss://stream.bybit.com", "", "secret", print, print),
    ],
)
async def test_absurd_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInputError):
        make()


async def test_pauses_double_up_to_the_longest_and_are_never_zero() -> None:
    settings = StreamSettings()
    longest = [settings.pause_s(failures, 0) for failures in (1, 2, 3, 10, 10_000)]
    assert longest == [0.5, 1, 2, 30, 30]
    assert settings.pause_s(1, 1) == 0.25
