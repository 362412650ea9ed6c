"""One call to the exchange from asyncio: budget, worker thread, deadline, and the judgement of the answer."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from breakwater_bybit import decoding
from breakwater_bybit.budget import Lease, Priority, RequestBudget, UnlimitedBudget
from breakwater_bybit.errors import (
    CredentialError,
    ExchangeError,
    IpBanned,
    NotSent,
    RequestKind,
    error_of_code,
    error_of_garbage,
    error_of_network,
    error_of_status,
)
from breakwater_bybit.transport import Channel, ChannelPool, Reply


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call that the exchange offers.

    Attributes:
        path: Path without `/v5/`, e.g. `order/create`.
        method: Name of pybit's method for it.
        kind: What it may change.
        is_signed: Whether it needs a key.
    """

    path: str
    method: str
    kind: RequestKind = RequestKind.QUERY
    is_signed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    Attributes:
        result: `result` of the envelope.
        time_ms: `time` of the envelope: when the exchange answered; 0 when not stated.
    """

    result: Mapping[str, Any]
    time_ms: int


@dataclass(frozen=True, slots=True)
class CallReport:
    """How a request went; times are nanoseconds since 1970-01-01T00:00Z of this machine's clock.

    Attributes:
        endpoint: What was asked.
        asked_ns: When leave to send was asked for; None: no budget is kept.
        begun_ns: When it was handed to a sending thread.
        ended_ns: When its answer, or the lack of one, was known.
        ret_code: `retCode` of the answer; None: no answer that has one.
        http_status: Status of the answer; 0: none.
    """

    endpoint: Endpoint
    asked_ns: int | None
    begun_ns: int
    ended_ns: int
    ret_code: int | None
    http_status: int


CallObserver = Callable[[CallReport], None]
"""Hears of each request that was sent, in the task that asked for it; must not raise."""


class Caller:
    """Sends requests from worker threads, so that the event loop never waits on a socket.

    Orders, cancels and everything of exit priority have threads of their own: slow queries cannot hold them up.

    Args:
        endpoint: Base URL without path, e.g. `https://api.bybit.com`.
        api_key: Key, or None for public data only.
        api_secret: Its secret.
        clock: Stamps signed requests that are not given a time, milliseconds since 1970.
        timeout_s: Limit for connecting, and for each pause of the answer, in seconds.
        budget: Admits requests; None: no limit.
        uid: What the budget counts by; None: a fingerprint of the key.
        workers: Threads, and so connections at most, for each of the two lanes.
        observer: Hears of each request.
        on_key_refused: Is told each time that the exchange refuses the key.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        api_key: str | None,
        api_secret: str | None,
        clock: Callable[[], int],
        timeout_s: float,
        budget: RequestBudget | None,
        uid: str | None,
        workers: int,
        observer: CallObserver | None = None,
        on_key_refused: Callable[[], None] | None = None,
    ) -> None:
        self._observer = observer
        self._has_key = False
        self._secrets: tuple[str, ...] = ()
        self._on_key_refused = on_key_refused
        self._uid = uid or hashlib.sha256((api_key or "").encode()).hexdigest()[:12]
        self._budget = UnlimitedBudget() if budget is None else budget
        self._deadline_s = 2 * timeout_s + 1
        self._endpoint = endpoint.rstrip("/")
        self._clock = clock
        self._timeout_s = timeout_s
        self._pool = self._pool_of(api_key, api_secret)
        self._orders = ThreadPoolExecutor(workers, thread_name_prefix="bybit-orders")
        self._queries = ThreadPoolExecutor(workers, thread_name_prefix="bybit-queries")
        self._is_closed = False

    def use_key(self, api_key: str, api_secret: str) -> None:
        """Sign what is sent from now on with another key of the same account; what is under way ends under the old."""
        before, self._pool = self._pool, self._pool_of(api_key, api_secret)
        before.close()

    def _pool_of(self, api_key: str | None, api_secret: str | None) -> ChannelPool:
        self._has_key = bool(api_key and api_secret)
        self._secrets = (*self._secrets, *(text for text in (api_key, api_secret) if text))
        return ChannelPool(
            lambda: Channel(
                self._endpoint, api_key=api_key, api_secret=api_secret, clock=self._clock, timeout_s=self._timeout_s
            )
        )

    async def call(
        self,
        endpoint: Endpoint,
        params: Mapping[str, Any],
        *,
        at_ms: int | None = None,
        priority: Priority = Priority.QUERY,
        send_by_s: float | None = None,
    ) -> Answer:
        """Send one request, once, and return its answer.

        Args:
            at_ms: Stamp of a signed request, milliseconds since 1970; None: the clock's time.
            send_by_s: Time of `time.monotonic` after which the sending thread does not begin any more; None: no limit.

        Raises:
            ExchangeError: One of its subclasses, by what is known about the request's effect.
        """
        if endpoint.is_signed and not self._has_key:
            raise CredentialError(f"{endpoint.path}: needs an API key; set key and secret")
        reply: Reply | ExchangeError | None = None
        asked_ns = time.time_ns()
        while reply is None:  # a lease may be late, e.g. after the process was stopped: then nothing was sent
            async with AsyncExitStack() as leave:
                lease = await self._lease(endpoint, priority, send_by_s, leave)
                begun_ns = time.time_ns()
                reply = await self._send(endpoint, params, lease, at_ms=at_ms, priority=priority, send_by_s=send_by_s)
                if isinstance(reply, Reply):
                    code = _code_of(reply)
                    lease.report(headers=reply.headers, ret_code=code, http_status=reply.status)
        if self._observer is not None:
            self._observer(self._report(endpoint, asked_ns, begun_ns, reply))
        if isinstance(reply, ExchangeError):
            raise reply
        error = self._error_in(reply, code, endpoint)
        if error is None:
            return _answer(reply)
        if isinstance(error, IpBanned):
            self._pool.close_connections()
        if isinstance(error, CredentialError) and self._on_key_refused is not None:
            self._on_key_refused()
        raise error

    def _report(self, endpoint: Endpoint, asked_ns: int, begun_ns: int, reply: Reply | ExchangeError) -> CallReport:
        return CallReport(
            endpoint=endpoint,
            asked_ns=None if isinstance(self._budget, UnlimitedBudget) else asked_ns,
            begun_ns=begun_ns,
            ended_ns=time.time_ns(),
            ret_code=_code_of(reply) if isinstance(reply, Reply) else None,
            http_status=reply.status if isinstance(reply, Reply) else 0,
        )

    async def pages(
        self,
        endpoint: Endpoint,
        params: Mapping[str, Any],
        *,
        at_ms: int | None = None,
        priority: Priority = Priority.QUERY,
    ) -> AsyncIterator[Answer]:
        """Yield the pages of a list. The exchange states a cursor even on the last one, so an empty page ends it."""
        cursor: str | None = None
        seen = set[str]()
        while True:
            query = dict(params) if cursor is None else {**params, "cursor": cursor}
            answer = await self.call(endpoint, query, at_ms=at_ms, priority=priority)
            if not answer.result.get("list"):
                return
            yield answer
            cursor = decoding.next_cursor(answer.result)
            if cursor is None or cursor in seen:
                return
            seen.add(cursor)

    async def close(self) -> None:
        """Stop; requests in flight end by themselves within their timeout, those still waiting are not sent."""
        self._is_closed = True
        for lane in (self._orders, self._queries):
            lane.shutdown(wait=False, cancel_futures=True)
        self._pool.close()

    async def _lease(
        self, endpoint: Endpoint, priority: Priority, send_by_s: float | None, leave: AsyncExitStack
    ) -> Lease:
        """Wait for leave to send, but not for longer than it can be used: it would be lost to others.

        Raises:
            NotSent: If the time to send was over before.
            IpBanned: If the exchange refuses this address.
        """
        left_s = None if send_by_s is None else send_by_s - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                return await leave.enter_async_context(self._budget.take(endpoint.path, self._uid, priority))
        except TimeoutError as error:
            raise NotSent(f"{endpoint.path}: its time to be sent was over before its turn came") from error

    async def _send(
        self,
        endpoint: Endpoint,
        params: Mapping[str, Any],
        lease: Lease,
        *,
        at_ms: int | None,
        priority: Priority,
        send_by_s: float | None,
    ) -> Reply | ExchangeError | None:
        """Return the answer, or what went wrong; None if the lease was late, so that nothing was sent."""
        if self._is_closed:
            return NotSent(f"{endpoint.path}: the client is closed")
        is_urgent = endpoint.kind is not RequestKind.QUERY or priority is Priority.EXIT
        lane = self._orders if is_urgent else self._queries
        future: Future[Reply | ExchangeError | None] = lane.submit(
            self._send_blocking, endpoint, params, lease, at_ms, send_by_s
        )
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if future.cancelled():
                return NotSent(f"{endpoint.path}: all connections were busy for {self._deadline_s} s")
            return error_of_network(error, endpoint=endpoint.path, kind=endpoint.kind)

    def _send_blocking(
        self, endpoint: Endpoint, params: Mapping[str, Any], lease: Lease, at_ms: int | None, send_by_s: float | None
    ) -> Reply | ExchangeError | None:
        if send_by_s is not None and time.monotonic() > send_by_s:
            return NotSent(f"{endpoint.path}: its time to be sent was over when its turn came")
        try:
            with self._pool.channel() as channel:
                channel.at_ms = at_ms
                if lease.is_late:
                    return None
                reply: Reply = getattr(channel, endpoint.method)(**params)
                return reply
        except (requests.RequestException, HTTPError, OSError) as error:
            return error_of_network(error, endpoint=endpoint.path, kind=endpoint.kind)

    def _error_in(self, reply: Reply, code: int | None, endpoint: Endpoint) -> ExchangeError | None:
        if reply.status != HTTPStatus.OK:
            return error_of_status(reply.status, endpoint=endpoint.path, kind=endpoint.kind)
        if reply.payload is None:
            return error_of_garbage("no JSON object", endpoint=endpoint.path, kind=endpoint.kind)
        if code is None:
            return error_of_garbage("no retCode", endpoint=endpoint.path, kind=endpoint.kind)
        if code == 0:
            return None
        return error_of_code(
            code,
            str(reply.payload.get("retMsg") or ""),
            endpoint=endpoint.path,
            kind=endpoint.kind,
            headers=reply.headers,
            secrets=self._secrets,
        )


def _code_of(reply: Reply) -> int | None:
    code = None if reply.payload is None else reply.payload.get("retCode")
    if isinstance(code, str) and code.removeprefix("-").isdecimal():
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _answer(reply: Reply) -> Answer:
    payload = reply.payload or {}
    result, time_ms = payload.get("result"), payload.get("time")
    return Answer(
        result=result if isinstance(result, dict) else {},
        time_ms=int(str(time_ms)) if str(time_ms).isdecimal() else 0,
    )
