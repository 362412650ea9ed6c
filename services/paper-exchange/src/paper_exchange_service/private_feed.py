"""The private streams: what happens to an account, as frames to its connections."""

import uuid
from collections.abc import Sequence
from typing import Any

from paper_exchange_service.api.rows import (
    Row,
    execution_frame_row,
    fast_execution_row,
    order_frame_row,
    position_frame_row,
    wallet_row,
)
from paper_exchange_service.connection import Connection
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.orders import Execution, Order
from paper_exchange_service.engine.positions import Position
from paper_exchange_service.fault_layer import FaultLayer
from paper_exchange_service.faults import PLAIN, Fate
from paper_exchange_service.frame_line import FrameLine

PRIVATE_TOPICS = frozenset(
    {
        "order",
        "order.linear",
        "execution",
        "execution.linear",
        "execution.fast",
        "execution.fast.linear",
        "position",
        "position.linear",
        "wallet",
        "greeks",
    }
)


class PrivateFeed:
    """Listens to the engine; `attach` tells it which engine it belongs to."""

    def __init__(self, faults: FaultLayer) -> None:
        self._faults = faults
        self._lines: dict[Connection, FrameLine] = {}
        self._engine: Engine | None = None
        self._connections: dict[str, set[Connection]] = {}

    def attach(self, engine: Engine) -> None:
        """Set the engine whose accounts are shown."""
        self._engine = engine

    def join(self, account: Account, connection: Connection) -> None:
        """Add a connection that has logged in."""
        connection.account = account.name
        self._connections.setdefault(account.name, set()).add(connection)

    def leave(self, account: Account, connection: Connection) -> None:
        """Remove a connection."""
        self._connections.get(account.name, set()).discard(connection)
        line = self._lines.pop(connection, None)
        if line is not None:
            line.close()

    def subscribed(self, account: str) -> frozenset[str]:
        """Return the topics that any connection of an account reads."""
        return frozenset(topic for connection in self._connections.get(account, ()) for topic in connection.topics)

    def order_changed(self, account: Account, order: Order, time_ms: int) -> None:
        """Send an order's new state."""
        if self._wanted(account, "order"):
            self._send(account, "order", [order_frame_row(order)], time_ms)

    def executed(self, account: Account, executions: Sequence[Execution], time_ms: int) -> None:
        """Send executions; the fast topic has trades only."""
        if self._wanted(account, "execution"):
            self._send(account, "execution", [execution_frame_row(fill) for fill in executions], time_ms)
        trades = [fill for fill in executions if fill.kind == "Trade"]
        if trades and self._wanted(account, "execution.fast"):
            self._send(account, "execution.fast", [fast_execution_row(fill) for fill in trades], time_ms)

    def position_changed(self, account: Account, position: Position, time_ms: int) -> None:
        """Send a position."""
        if self._engine and self._wanted(account, "position"):
            self._send(account, "position", [position_frame_row(self._engine, account, position, time_ms)], time_ms)

    def wallet_changed(self, account: Account, time_ms: int) -> None:
        """Send the wallet."""
        if self._engine and self._wanted(account, "wallet"):
            self._send(account, "wallet", [wallet_row(self._engine, account, time_ms)], time_ms)

    def _wanted(self, account: Account, topic: str) -> bool:
        connections = self._connections.get(account.name)
        return bool(connections) and any(
            topic in connection.topics or f"{topic}.linear" in connection.topics for connection in connections or ()
        )

    def _send(self, account: Account, topic: str, rows: list[Row], time_ms: int) -> None:
        for name in (topic, f"{topic}.linear"):
            readers = [link for link in self._connections.get(account.name, ()) if name in link.topics]
            if not readers:
                continue
            frame: dict[str, Any] = {
                "id": f"{account.uid}{uuid.uuid4()}",
                "topic": name,
                "creationTime": time_ms,
                "data": rows,
            }
            for sent, fate in self._faults.of_frame(account.name, name, frame):
                if fate.drops:
                    for connection in self._connections.get(account.name, ()):
                        connection.drop()
                    return
                for connection in readers:
                    self._pass_on(connection, sent, fate)

    def _pass_on(self, connection: Connection, frame: dict[str, Any], fate: Fate) -> None:
        line = self._lines.get(connection)
        if line is None and fate == PLAIN:
            connection.send(frame)
            return
        if line is None:
            line = self._lines[connection] = FrameLine(connection.send)
        line.push(frame, fate)
