"""The private stream of one account: frames into fills, drops into catch-ups."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from breakwater_bybit.decoding import decode_execution_frame
from breakwater_bybit.errors import CredentialError
from breakwater_bybit.model import Execution
from breakwater_bybit.stream_socket import StreamFrame
from breakwater_bybit.streams import Connected, Disconnected, FrameFailed, PrivateStream, StreamState
from breakwater_core.events import Alert, Severity
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.secret_rotation import RotatingSecret
from executor_service import metrics
from executor_service.account_keeper import AccountKeeper
from executor_service.account_keys import AccountKey
from executor_service.alarm import SERVICE
from executor_service.venue_clock import wall_clock_ms

_FIRST_LOGIN_PAUSE_S, _LONGEST_LOGIN_PAUSE_S = 2.0, 60.0
"""After a refused login the same key is tried again: the route may be mended, or the exchange has erred."""


class AccountFeed:
    """Hands what the private stream pushes to the account's keeper, in order."""

    def __init__(
        self,
        keeper: AccountKeeper,
        key: AccountKey,
        endpoint: str,
        health: Health,
        *,
        ends_if_refused: bool = True,
        rotating: RotatingSecret | None = None,
        raise_alert: Callable[[Alert], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare.

        Args:
            keeper: Takes the executions.
            key: The account's key.
            endpoint: Base URL of the stream.
            health: Shows the state of the stream.
            ends_if_refused: A refused login ends the feed; else it is tried again, and other accounts go on meanwhile.
            rotating: Where a new key may come from; None: from a restart only.
            raise_alert: Is told once that the exchange refuses the key, until it has taken one.
        """
        self._keeper = keeper
        self._endpoint = endpoint
        self._health = health
        self._condition = condition(keeper.name)
        self._ends_if_refused = ends_if_refused
        self._rotating = rotating
        self._raise_alert = raise_alert
        self._executions: asyncio.Queue[list[Execution]] = asyncio.Queue()
        self.gap = asyncio.Event()
        """Set when something may have been lost: after each connection, and after a frame that could not be read."""
        self.connected = asyncio.Event()
        """Set after each connection."""
        self._key = key
        self._replaced = asyncio.Event()
        self._refused = 0  # logins in a row
        self._stream = self._stream_of(key)

    def _stream_of(self, key: AccountKey) -> PrivateStream:
        return PrivateStream(self._endpoint, key.api_key, key.api_secret, self._frame, self._state)

    def use_key(self, key: AccountKey) -> None:
        """Log in with another key of the account; what is missed meanwhile is caught up over REST."""
        self._key = key
        self._stream.use_key(key.api_key, key.api_secret)
        self._replaced.set()

    async def run(self) -> None:
        """Keep the stream up until cancelled.

        Raises:
            CredentialError: If the exchange refuses the key, unless that is tried again.
        """
        try:
            while True:
                key = self._key
                try:
                    await self._stream.run()
                    return
                except CredentialError as error:
                    if self._ends_if_refused:
                        raise
                    if self._key is key:
                        await self._wait_for_key(error)
                    self._stream = self._stream_of(self._key)
        finally:
            metrics.PRIVATE_STREAM.labels(self._keeper.name).set(0)

    async def _wait_for_key(self, error: CredentialError) -> None:
        """Return once there is another key, or it is time to try this one again; fills are read over REST meanwhile."""
        name = self._keeper.name
        self._replaced.clear()
        metrics.PRIVATE_STREAM.labels(name).set(0)
        self._health.fail(self._condition, f"the exchange refuses the key: {error}")
        place = "EXECUTOR_ACCOUNTS and restart"
        if self._rotating is not None:
            self._rotating.hurry()
            place = self._rotating.origin
        self._refused += 1
        if self._refused == 1 and self._raise_alert is not None:
            now_ms = wall_clock_ms()
            await self._raise_alert(
                Alert(
                    alert_id=f"key_refused/{name}/{now_ms}",
                    run_id=self._keeper.run_id,
                    severity=Severity.CRITICAL,
                    service=SERVICE,
                    name="key_refused",
                    summary=f"the exchange refuses the key of {name} ({error}); unless it is the address that it "
                    f"refuses, put a new key into {place}",
                    event_time_ms=now_ms,
                    account=name,
                )
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(_pause_s(self._refused)):
                await self._replaced.wait()

    async def work(self) -> None:
        """Publish what comes, one frame after the other, until cancelled."""
        while True:
            await self._keeper.take(await self._executions.get(), "stream")

    def _frame(self, frame: StreamFrame) -> None:
        metrics.FRAMES.labels(self._keeper.name, frame.topic.partition(".")[0]).inc()
        if frame.topic.startswith("execution"):
            self._executions.put_nowait(decode_execution_frame(frame.payload))

    def _state(self, state: StreamState) -> None:
        name = self._keeper.name
        match state:
            case Connected():
                self._refused = 0
                metrics.PRIVATE_STREAM.labels(name).set(1)
                self._health.hold(self._condition)
                self.gap.set()
                self.connected.set()
            case Disconnected(was_connected=was_connected, reason=reason):
                metrics.PRIVATE_STREAM.labels(name).set(0)
                self._health.fail(self._condition, f"the private stream is down: {reason}")
                if was_connected:
                    metrics.PRIVATE_STREAM_DROPS.labels(name).inc()
            case FrameFailed(reason=reason):
                get_logger().error("private_frame_lost", account=name, reason=reason)
                self.gap.set()
            case _:
                self._health.fail(self._condition, f"the exchange refuses topics: {state.reason}")


def _pause_s(refused: int) -> float:
    return min(_LONGEST_LOGIN_PAUSE_S, _FIRST_LOGIN_PAUSE_S * 2.0 ** min(refused - 1, 10))


def condition(account: str) -> str:
    """Return the name of the readiness condition of an account's private stream."""
    return f"private_stream_{account}"
