"""One WebSocket connection over pybit: connect once, log in, subscribe, report; never reconnect, never hang.

pybit's own socket reconnects in a tight loop, dies of an exception in a callback, loses acknowledgements that come
fast, and is silent about a refused login. Here it only signs, pings and reads; its thread tells the event loop what
happened, and a supervisor decides what to do.
"""

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
import websocket
from pybit.unified_trading import WebSocket
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from breakwater_bybit.errors import clean_text
from breakwater_core.errors import InvalidInputError

log = structlog.get_logger(__name__)

_LONGEST_REQUEST = 20_000
"""Characters of `args` in one request; Bybit takes 21,000."""


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """Times of a connection, in seconds.

    Attributes:
        connect_timeout_s: Limit for reaching the server, for the TLS handshake, and for each pause within a frame.
        ping_interval_s: Between two pings; above the ping timeout. Bybit asks for 20.
        ping_timeout_s: Limit for the answer to a ping.
        login_validity_s: How far ahead of our clock the login expires: a clock behind by more cannot log in.
    """

    connect_timeout_s: float = 5.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 10.0
    login_validity_s: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.ping_timeout_s < self.ping_interval_s:
            raise InvalidInputError(
                f"ping_timeout_s must be above 0 and below ping_interval_s ({self.ping_interval_s}), was "
                f"{self.ping_timeout_s}"
            )
        if self.connect_timeout_s <= 0 or self.login_validity_s < 1:
            raise InvalidInputError("connect_timeout_s must be above 0 and login_validity_s at least 1")


@dataclass(frozen=True, slots=True)
class StreamFrame:
    """A frame with data.

    Attributes:
        topic: E.g. `publicTrade.BTCUSDT`.
        payload: The parsed frame, for `breakwater_bybit.decoding`.
        received_ns: `time.perf_counter_ns()` when the socket handed the frame over.
        connection: Which connection brought it, counted from 1.
    """

    topic: str
    payload: dict[str, Any]
    received_ns: int
    connection: int


# What the reader thread tells the event loop.


@dataclass(frozen=True, slots=True)
class Opened:
    """The server accepted the connection; a private one is not logged in yet."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server accepted or refused the key."""

    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class SubscriptionAnswered:
    """The server accepted or refused the topics of one request."""

    topics: tuple[str, ...]
    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class GarbageReceived:
    """A frame was no JSON object, or of no known kind."""

    problem: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over, or never came about; the reader thread is about to end."""

    reason: str


SocketEvent = Opened | LoggedIn | SubscriptionAnswered | GarbageReceived | StreamFrame | Ended


class StreamSocket(WebSocket):  # type: ignore[misc]  # pybit ships no types
    """One connection, from the constructor, which does not block, until `Ended` is told.

    Args:
        url: Whole URL, e.g. `wss://stream.bybit.com/v5/public/linear`.
        channel_type: pybit's name of the channel: `linear` or `private`.
        number: Which connection of the stream this is, counted from 1.
        tell: Called in the event loop with each event.
        settings: Times of the connection.
        api_key: Key of a private channel.
        api_secret: Its secret.

    Attributes:
        heard_at: `time.monotonic()` of the last sign of life from the server, pongs included.
    """

    def __init__(
        self,
        url: str,
        *,
        channel_type: str,
        number: int,
        tell: Callable[[SocketEvent], None],
        settings: SocketSettings,
        api_key: str | None = None,
        api_secret: str | None = None,
    ) -> None:
        self._url = url
        self._number = number
        self._tell_in_loop = tell
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._secrets = tuple(text for text in (api_key, api_secret) if text)
        self._requested: dict[str, tuple[str, ...]] = {}
        self._failure = ""
        self._tcp: socket.socket | None = None
        self._state_lock = threading.Lock()
        self.heard_at = time.monotonic()
        super().__init__(
            channel_type,
            testnet=False,
            api_key=api_key,
            api_secret=api_secret,
            callback_function=self._handle_payload,
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            private_auth_expire=settings.login_validity_s,
            restart_on_error=False,
            retries=1,
        )

    def __repr__(self) -> str:
        return f"StreamSocket({self._url!r}, connection {self._number})"

    def request_topics(self, topics: Sequence[str]) -> int:
        """Ask for topics, in as many requests as their length needs; return the number of requests."""
        requests = _split(topics)
        for part in requests:
            request_id = str(uuid4())
            self._requested[request_id] = part  # before it is sent: the answer may come at once
            self.ws.send(json.dumps({"op": "subscribe", "req_id": request_id, "args": part}))
        return len(requests)

    def abandon(self) -> None:
        """End the connection without waiting; `Ended` follows from the reader thread. May be called repeatedly."""
        with self._state_lock:
            self.exited = True
            tcp = self._tcp
        self._stop_custom_ping_timer()
        if tcp is None:
            return
        connection = self.ws.sock if self.is_connected() else None
        if connection is not None:
            with suppress(OSError, websocket.WebSocketException):  # closed meanwhile
                connection.send_close()
        with suppress(OSError):  # closed already
            socket.socket.shutdown(tcp, socket.SHUT_RDWR)  # wakes the reader, also within a TLS read

    # pybit's hooks

    def _connect(self, url: str) -> None:
        """Start the reader thread; pybit would wait here, and try again without a pause."""
        self.endpoint = self._url
        self.wst = threading.Thread(target=self._read, name=f"bybit-stream-{self._number}", daemon=True)
        self.wst.start()

    def _on_open(self) -> None:
        self.heard_at = time.monotonic()
        if self.api_key:
            self._auth()
        self._send_initial_ping()
        self._tell(Opened())

    def _on_error(self, error: BaseException) -> None:
        self._failure = self._failure or _reason_of(error)
        self.abandon()

    def _on_close(self) -> None:
        self._stop_custom_ping_timer()

    def _on_pong(self) -> None:
        self.heard_at = time.monotonic()
        super()._on_pong()

    def _on_message(self, message: str) -> None:
        received_ns = time.perf_counter_ns()
        self.heard_at = time.monotonic()
        try:
            payload = json.loads(message)
            topic = payload.get("topic") if isinstance(payload, dict) else None
            if isinstance(topic, str):
                self._tell(StreamFrame(topic, payload, received_ns, self._number))
            elif not isinstance(payload, dict):
                self._tell(GarbageReceived("no JSON object"))
            elif not self._is_custom_pong(payload):
                self._handle_payload(payload)
        except ValueError:
            self._tell(GarbageReceived("no JSON"))
        except Exception as error:  # an exception would end the stream
            log.exception("stream_frame_failed", connection=self._number)
            self._tell(GarbageReceived(type(error).__name__))

    def _handle_payload(self, payload: dict[str, Any]) -> None:
        accepted = payload.get("success") is True or payload.get("retCode") == 0
        text = clean_text(str(payload.get("ret_msg") or payload.get("retMsg") or ""), self._secrets)
        if payload.get("op") == "auth":
            self.auth = accepted
            self._tell(LoggedIn(accepted, text))
        elif payload.get("op") == "subscribe":
            topics = self._requested.pop(str(payload.get("req_id")), ())
            self._tell(SubscriptionAnswered(topics, accepted, text))
        else:
            self._tell(GarbageReceived(f"unknown operation {str(payload.get('op'))[:40]!r}"))

    # Reader thread

    def _read(self) -> None:
        try:
            prepared = self._dial()
            if prepared is None:
                return
            self.ws = websocket.WebSocketApp(
                self._url,
                socket=prepared,
                on_open=lambda _: self._on_open(),
                on_message=lambda _, message: self._on_message(message),
                on_error=lambda _, error: self._on_error(error),
                on_close=lambda _, *__: self._on_close(),
                on_pong=lambda _, *__: self._on_pong(),
            )
            self.ws.run_forever(ping_interval=self.ping_interval, ping_timeout=self.ping_timeout)
        except (OSError, ValueError, websocket.WebSocketException) as error:
            self._failure = self._failure or _reason_of(error)
        finally:
            self.exited = True
            self._stop_custom_ping_timer()
            self._tell(Ended("closed by us" if not self._failure else self._failure))

    def _dial(self) -> socket.socket | None:
        """Return a connected socket with a limit on each step, None if we were told to stop meanwhile."""
        parts = urlsplit(self._url)
        host = parts.hostname or ""
        is_secure = parts.scheme == "wss"
        port = parts.port or (443 if is_secure else 80)
        connected = socket.create_connection((host, port), timeout=self._settings.connect_timeout_s)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_secure:
            context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
            connected = context.wrap_socket(connected, server_hostname=host)
        with self._state_lock:
            if self.exited:
                connected.close()
                return None
            self._tcp = connected
            return connected

    def _tell(self, event: SocketEvent) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tell_in_loop, event)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.exited = True


def _split(topics: Sequence[str]) -> list[tuple[str, ...]]:
    parts: list[list[str]] = [[]]
    length = 0
    for topic in topics:
        if parts[-1] and length + len(topic) > _LONGEST_REQUEST:
            parts.append([])
            length = 0
        parts[-1].append(topic)
        length += len(topic) + 4
    return [tuple(part) for part in parts if part]


def _reason_of(error: BaseException) -> str:
    return clean_text(f"{type(error).__name__}: {error}") or type(error).__name__
