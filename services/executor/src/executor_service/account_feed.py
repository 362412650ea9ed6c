"""The private stream of one account: frames into fills, drops into catch-ups."""

import asyncio

from breakwater_bybit.decoding import decode_execution_frame
from breakwater_bybit.model import Execution
from breakwater_bybit.stream_socket import StreamFrame
from breakwater_bybit.streams import Connected, Disconnected, FrameFailed, PrivateStream, StreamState
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from executor_service import metrics
from executor_service.account_keeper import AccountKeeper
from executor_service.account_keys import AccountKey


class AccountFeed:
    """Hands what the private stream pushes to the account's keeper, in order."""

    def __init__(self, keeper: AccountKeeper, key: AccountKey, endpoint: str, health: Health) -> None:
        """Read the stream at this base URL with the account's key; its state shows in `health`."""
        self._keeper = keeper
        self._health = health
        self._condition = condition(keeper.name)
        self._executions: asyncio.Queue[list[Execution]] = asyncio.Queue()
        self.gap = asyncio.Event()
        """Set when something may have been lost: after each connection, and after a frame that could not be read."""
        self.connected = asyncio.Event()
        """Set after each connection."""
        self._stream = PrivateStream(endpoint, key.api_key, key.api_secret, self._frame, self._state)

    async def run(self) -> None:
        """Keep the stream up until cancelled.

        Raises:
            CredentialError: If the exchange refuses the key.
        """
        try:
            await self._stream.run()
        finally:
            metrics.PRIVATE_STREAM.labels(self._keeper.name).set(0)

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


def condition(account: str) -> str:
    """Return the name of the readiness condition of an account's private stream."""
    return f"private_stream_{account}"
