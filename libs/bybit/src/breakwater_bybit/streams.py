"""Streams that stay up: a supervisor for each, which connects, watches, and connects anew with growing pauses.

`run()` is the supervisor; whoever starts it as a task owns the stream. Frames and states are handed over in the event
loop. Nothing is replayed after a gap: on each `Connected` beyond the first the owner catches up over REST.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from secrets import SystemRandom
from typing import NoReturn

import structlog
import websocket
from pydantic import SecretStr

from breakwater_bybit.credentials import revealed
from breakwater_bybit.errors import CredentialError
from breakwater_bybit.stream_socket import (
    Ended,
    GarbageReceived,
    LoggedIn,
    Opened,
    SocketEvent,
    SocketSettings,
    StreamFrame,
    StreamSocket,
    SubscriptionAnswered,
)
from breakwater_core.errors import InvalidInputError

log = structlog.get_logger(__name__)

PUBLIC_CHANNELS = ("publicTrade", "kline.D", "tickers")
PRIVATE_TOPICS = ("order", "execution", "position", "wallet")
_THREAD_END_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream is kept up; times in seconds.

    Attributes:
        socket: Times of each connection.
        setup_timeout_s: Limit from the start of a connection until all topics are acknowledged.
        stale_after_s: Silence, pongs included, after which a connection counts as dead; above ping interval + timeout.
        first_pause_s: Largest pause after the first failure; it doubles with each further one.
        longest_pause_s: Largest pause at all. Each is shortened at random by up to half.
        stable_after_s: A connection that lived so long starts the pauses afresh.
    """

    socket: SocketSettings = field(default_factory=SocketSettings)
    setup_timeout_s: float = 15.0
    stale_after_s: float = 35.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    stable_after_s: float = 30.0

    def __post_init__(self) -> None:
        if self.stale_after_s <= self.socket.ping_interval_s + self.socket.ping_timeout_s:
            raise InvalidInputError("stale_after_s must be above the ping interval and timeout together")
        if not 0 < self.first_pause_s <= self.longest_pause_s:
            raise InvalidInputError("first_pause_s must be above 0 and at most longest_pause_s")

    def pause_s(self, failures: int, share: float) -> float:
        """Return the pause after so many failures in a row; `share` in [0, 1] is the random part."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(failures - 1, 30))
        return longest * (1 - share / 2)


@dataclass(frozen=True, slots=True)
class Connected:
    """All topics are acknowledged. `connection` counts from 1; above 1 there was a gap."""

    connection: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection ended, or did not come about (`was_connected` is False); the next try is in `retry_in_s`."""

    connection: int
    reason: str
    was_connected: bool
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The server refuses topics; the stream goes on without them."""

    connection: int
    topics: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """A frame was unreadable, or the owner's handler raised; the frame is lost, the stream goes on."""

    connection: int
    topic: str
    reason: str


StreamState = Connected | Disconnected | SubscriptionRefused | FrameFailed
FrameHandler = Callable[[StreamFrame], None]
StateHandler = Callable[[StreamState], None]


class _Lost(Exception):
    """The connection is over; the text says why."""


class Stream:
    """Keeps one subscription up; see `PublicStream` and `PrivateStream`."""

    def __init__(
        self,
        url: str,
        *,
        channel_type: str,
        topics: Sequence[str],
        on_frame: FrameHandler,
        on_state: StateHandler,
        settings: StreamSettings,
        api_key: str | None = None,
        api_secret: str | None = None,
    ) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise InvalidInputError(f"endpoint must start with ws:// or wss://, was {url!r}")
        if not topics or len(set(topics)) != len(topics):
            raise InvalidInputError("topics must be at least one, and each once")
        self._url = url
        self._channel_type = channel_type
        self._topics = tuple(topics)
        self._on_frame = on_frame
        self._on_state = on_state
        self._settings = settings
        self._api_key = api_key
        self._api_secret = api_secret
        self._connection = 0
        self._closing = asyncio.Event()
        self._finished = asyncio.Event()
        self._is_running = False
        self._events: asyncio.Queue[SocketEvent] = asyncio.Queue()
        self._random = SystemRandom()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    async def run(self) -> None:
        """Keep the stream up until `close`; cancelling ends it as well.

        Raises:
            CredentialError: If the server refuses the key.
            InvalidInputError: If the stream was run before.
        """
        if self._is_running:
            raise InvalidInputError("a stream runs once; make another one")
        self._is_running = True
        failures = 0
        try:
            while not self._closing.is_set():
                self._connection += 1
                started_at = time.monotonic()
                reason, was_connected = await self._serve()
                is_stable = was_connected and time.monotonic() - started_at >= self._settings.stable_after_s
                failures = 1 if is_stable else failures + 1
                pause_s = self._settings.pause_s(failures, self._random.random())
                if not self._closing.is_set():
                    log.warning("stream_disconnected", url=self._url, reason=reason, retry_in_s=round(pause_s, 2))
                    self._announce(Disconnected(self._connection, reason, was_connected, pause_s))
                    await self._pause(pause_s)
        finally:
            self._finished.set()

    def _use_key(self, api_key: str, api_secret: str) -> None:
        self._api_key, self._api_secret = api_key, api_secret
        self._events.put_nowait(Ended("the key was replaced"))

    async def close(self) -> None:
        """Stop the stream and wait until `run` has let go of the connection: at most a few seconds."""
        self._closing.set()
        self._events.put_nowait(Ended("closed by us"))
        if self._is_running:
            await self._finished.wait()

    async def _serve(self) -> tuple[str, bool]:
        """Serve one connection until it ends; return why, and whether it ever was connected."""
        events: asyncio.Queue[SocketEvent] = asyncio.Queue()
        thread_ended = asyncio.Event()
        self._events = events

        def tell(event: SocketEvent) -> None:
            if isinstance(event, StreamFrame):
                self._deliver(event)
                return
            if isinstance(event, Ended):
                thread_ended.set()
            events.put_nowait(event)

        socket = StreamSocket(
            self._url,
            channel_type=self._channel_type,
            number=self._connection,
            tell=tell,
            settings=self._settings.socket,
            api_key=self._api_key,
            api_secret=self._api_secret,
        )
        was_connected = False
        try:
            await self._set_up(socket, events)
            was_connected = True
            log.info("stream_connected", url=self._url, connection=self._connection)
            self._announce(Connected(self._connection))
            await self._watch(socket, events)
        except _Lost as lost:
            return str(lost), was_connected
        finally:
            socket.abandon()
            await _wait_for_thread(socket, thread_ended)

    async def _set_up(self, socket: StreamSocket, events: asyncio.Queue[SocketEvent]) -> None:
        step = "open the connection"
        try:
            async with asyncio.timeout(self._settings.setup_timeout_s):
                await self._expect(events, Opened)
                if self._api_key is not None:
                    step = "answer the login"
                    answer = await self._expect(events, LoggedIn)
                    if not answer.accepted:
                        raise CredentialError(
                            f"{self._url}: the exchange refuses the login ({answer.text or 'no reason given'}); "
                            "check key, secret, endpoint and this machine's clock",
                            text=answer.text,
                        )
                step = "acknowledge the topics"
                await self._subscribe(socket, events)
        except TimeoutError:
            raise _Lost(f"the server did not {step} within {self._settings.setup_timeout_s} s") from None
        except (OSError, websocket.WebSocketException) as error:
            raise _Lost(f"the server closed the connection ({type(error).__name__})") from error

    async def _subscribe(self, socket: StreamSocket, events: asyncio.Queue[SocketEvent]) -> None:
        unanswered = socket.request_topics(self._topics)
        while unanswered:
            answer = await self._expect(events, SubscriptionAnswered)
            unanswered -= 1
            if answer.accepted or "already subscribed" in answer.text:
                continue
            if len(answer.topics) > 1:  # one bad topic refuses them all: ask for each by itself
                unanswered += sum(socket.request_topics([topic]) for topic in answer.topics)
                continue
            log.error("stream_subscription_refused", topics=answer.topics, reason=answer.text)
            self._announce(SubscriptionRefused(self._connection, answer.topics, answer.text))

    async def _expect[E: SocketEvent](self, events: asyncio.Queue[SocketEvent], kind: type[E]) -> E:
        """Return the next event of the kind; other ones are dealt with on the way."""
        while True:
            event = await events.get()
            if isinstance(event, Ended):
                raise _Lost(event.reason)
            if isinstance(event, kind):
                return event
            if isinstance(event, GarbageReceived):
                log.error("stream_frame_unreadable", url=self._url, problem=event.problem)
                self._announce(FrameFailed(self._connection, "", event.problem))

    async def _watch(self, socket: StreamSocket, events: asyncio.Queue[SocketEvent]) -> NoReturn:
        """Wait until the connection ends, or nothing, not even a pong, has come for too long."""
        while True:
            silence_s = time.monotonic() - socket.heard_at
            if silence_s >= self._settings.stale_after_s:
                raise _Lost(f"nothing came for {silence_s:.0f} s")
            if socket.exited:
                raise _Lost("the reader ended")
            try:
                async with asyncio.timeout(self._settings.stale_after_s - silence_s):
                    await self._expect(events, Ended)
            except TimeoutError:
                continue

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._closing.wait()
        except TimeoutError:
            return

    def _deliver(self, frame: StreamFrame) -> None:
        if self._closing.is_set():
            return
        try:
            self._on_frame(frame)
        except Exception as error:  # the owner's fault must not end the stream: it is told, and may stop it
            log.exception("stream_frame_failed", topic=frame.topic, connection=frame.connection)
            self._announce(FrameFailed(frame.connection, frame.topic, f"{type(error).__name__}: {error}"))

    def _announce(self, state: StreamState) -> None:
        try:
            self._on_state(state)
        except Exception:  # as above, but there is nobody left to tell
            log.exception("stream_state_failed", state=type(state).__name__)


class PublicStream(Stream):
    """Market data of linear perpetuals.

    Args:
        endpoint: Base URL without path, e.g. `wss://stream.bybit.com`.
        symbols: Venue symbols.
        on_frame: Called in the event loop with each data frame.
        on_state: Called in the event loop with each change of state.
        channels: Topics without the symbol, e.g. `publicTrade`, `kline.D`, `tickers`.
        settings: How the stream is kept up.
    """

    def __init__(
        self,
        endpoint: str,
        symbols: Sequence[str],
        on_frame: FrameHandler,
        on_state: StateHandler,
        *,
        channels: Sequence[str] = PUBLIC_CHANNELS,
        settings: StreamSettings | None = None,
    ) -> None:
        super().__init__(
            f"{endpoint.rstrip('/')}/v5/public/linear",
            channel_type="linear",
            topics=[f"{channel}.{symbol}" for symbol in symbols for channel in channels],
            on_frame=on_frame,
            on_state=on_state,
            settings=settings or StreamSettings(),
        )


class PrivateStream(Stream):
    """Orders, executions, positions and wallet of one account.

    Args:
        endpoint: Base URL without path, e.g. `wss://stream.bybit.com`.
        api_key: Key.
        api_secret: Its secret.
        on_frame: Called in the event loop with each data frame.
        on_state: Called in the event loop with each change of state.
        topics: What to subscribe to.
        settings: How the stream is kept up.
    """

    def __init__(
        self,
        endpoint: str,
        api_key: SecretStr | str,
        api_secret: SecretStr | str,
        on_frame: FrameHandler,
        on_state: StateHandler,
        *,
        topics: Sequence[str] = PRIVATE_TOPICS,
        settings: StreamSettings | None = None,
    ) -> None:
        key, secret = _complete(api_key, api_secret)
        super().__init__(
            f"{endpoint.rstrip('/')}/v5/private",
            channel_type="private",
            topics=topics,
            on_frame=on_frame,
            on_state=on_state,
            settings=settings or StreamSettings(),
            api_key=key,
            api_secret=secret,
        )

    def use_key(self, api_key: SecretStr | str, api_secret: SecretStr | str) -> None:
        """Log in with another key of the same account: the connection ends, the next one is made with the new key.

        Raises:
            InvalidInputError: If key or secret is empty.
        """
        self._use_key(*_complete(api_key, api_secret))


def _complete(api_key: SecretStr | str, api_secret: SecretStr | str) -> tuple[str, str]:
    key, secret = revealed(api_key), revealed(api_secret)
    if key is None or secret is None:
        raise InvalidInputError("a private stream needs an API key and its secret")
    return key, secret


async def _wait_for_thread(socket: StreamSocket, ended: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_THREAD_END_TIMEOUT_S):
            await ended.wait()
    except TimeoutError:
        log.warning("stream_thread_left", connecting=True)  # still dialling: ends by itself at the connect timeout
        return
    socket.wst.join(timeout=1.0)  # it has nothing left to do but return
