"""One request at a time over pybit: what is signed is what is sent, at the time we say, and never twice.

`Channel` is pybit's HTTP client with its surprises taken out: no retries and no sleeps, no redirects, no logging of
answers, no errors that carry the request, no secrets in its repr. A channel is used by one thread at a time;
`ChannelPool` keeps them and hands out the one used last, whose connection is the warmest.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from pybit.unified_trading import HTTP
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError

_NEVER = frozenset({-1})
"""A set of codes that no answer has: an empty one would mean pybit's own choice, which retries orders."""


def wall_clock_ms() -> int:
    """Return the machine's time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as received.

    Attributes:
        status: HTTP status.
        payload: Parsed body; None when it is no JSON object.
        headers: Headers of the answer, case-insensitive.
    """

    status: int
    payload: Mapping[str, Any] | None
    headers: Mapping[str, str]


class Channel(HTTP):  # type: ignore[misc]  # pybit ships no types
    """pybit's client for one endpoint and key.

    Attributes:
        at_ms: Stamp of the next signed request, milliseconds since 1970; None: now.
    """

    def __init__(
        self, endpoint: str, *, api_key: str | None, api_secret: str | None, clock: Callable[[], int], timeout_s: float
    ) -> None:
        logger = logging.getLogger("pybit._http_manager")
        handlers = list(logger.handlers)
        super().__init__(
            api_key=api_key,
            api_secret=api_secret,
            timeout=timeout_s,
            retry_codes=set(_NEVER),
            max_retries=1,
            force_retry=False,
            log_requests=False,
            return_response_headers=True,
        )
        logger.handlers[:] = handlers  # pybit adds one for each client while the root logger has none
        self.endpoint = endpoint
        self.at_ms: int | None = None
        self._clock = clock
        self.client.trust_env = False  # else each request searches for a .netrc, whose password it would send
        self.client.max_redirects = 0  # else a redirect takes the signed headers elsewhere
        self.client.proxies.update(get_environ_proxies(endpoint))
        for scheme in ("http://", "https://"):
            self.client.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))

    def __repr__(self) -> str:
        return f"Channel({self.endpoint!r})"

    def _prepare_headers(self, payload: str, recv_window: int, content_type: str = "application/json") -> Any:
        timestamp = self._clock() if self.at_ms is None else self.at_ms
        return {
            "Content-Type": content_type,
            "X-BAPI-API-KEY": self.api_key,
            "X-BAPI-SIGN": self._auth(payload=payload, recv_window=recv_window, timestamp=timestamp),
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-TIMESTAMP": str(timestamp),
            "X-BAPI-RECV-WINDOW": str(recv_window),
        }

    def _prepare_request(self, method: str, path: str, params: str, headers: Mapping[str, str]) -> Any:
        request = super()._prepare_request(method, path, params, headers)
        if method == "GET" and params:
            request.url = f"{path}?{params}"  # as signed; requests may have re-encoded it
        return request

    def _check_status_code(self, response: requests.Response, method: str, path: str, params: str) -> None:
        """Leave the status to `_handle_response`; pybit would log the answer and raise an error with the request."""

    def _handle_response(
        self, response: requests.Response, method: str, path: str, params: str, recv_window: int, retries_left: int
    ) -> Reply:
        payload: object = None
        if response.status_code == HTTPStatus.OK:
            try:
                payload = json.loads(response.content)
            except ValueError:
                payload = None
        return Reply(
            status=response.status_code,
            payload=payload if isinstance(payload, dict) else None,
            headers=response.headers,
        )


class ChannelPool:
    """Channels of one client, made when needed and kept.

    Args:
        make: Makes a channel.
    """

    def __init__(self, make: Callable[[], Channel]) -> None:
        self._make = make
        self._idle: list[Channel] = []
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def channel(self) -> Iterator[Channel]:
        """Lend a channel to the calling thread."""
        with self._lock:
            channel = self._idle.pop() if self._idle else None
        channel = channel or self._make()
        try:
            yield channel
        finally:
            channel.at_ms = None
            self._give_back(channel)

    def _give_back(self, channel: Channel) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(channel)
                return
        channel.client.close()

    def close_connections(self) -> None:
        """Close the connections of idle channels; they connect anew when used again."""
        with self._lock:
            for channel in self._idle:
                channel.client.close()

    def close(self) -> None:
        """Close all connections, those in use as soon as they are given back."""
        with self._lock:
            self._is_closed = True
        self.close_connections()


def ask_as_the_exchange(url: str, *, exchange_url: str, timeout_s: float, longest: int) -> bytes:
    """Return what another host answers to a request that takes the way of those to the exchange, proxies included.

    Args:
        url: What is asked for; redirects are not followed.
        exchange_url: Base URL of the exchange: what the environment names as its proxy is used.
        timeout_s: Limit for connecting, and for each pause of the answer.
        longest: Bytes of the answer that are read.

    Raises:
        OSError: If there is no answer with status 200.
    """
    proxy = select_proxy(exchange_url, get_environ_proxies(exchange_url))
    with requests.Session() as session:
        session.trust_env = False
        if proxy:
            session.proxies.update({"http": proxy, "https": proxy})
        headers = {"Accept": "text/plain, application/json"}
        with session.get(url, timeout=timeout_s, allow_redirects=False, stream=True, headers=headers) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise OSError(f"status {answer.status_code}")
            try:
                content: bytes = answer.raw.read(longest, decode_content=True)
            except HTTPError as error:
                raise OSError(type(error).__name__) from error
            return content
