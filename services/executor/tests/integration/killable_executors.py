"""Executors that die at named steps: `python killable_executors.py FOLDER COUNT`, only for tests.

Keeps COUNT executor processes running, each a fork of one that has imported everything, and prints their process ids.
Before and after whatever an executor does to the world it passes a named point. A file of that name in FOLDER/kill is
removed, and the process that removed it kills itself with SIGKILL; every point that was passed leaves its name in
FOLDER/passed. A name is `<symbol>.<leg>.<what>.<order number or count>.<phase>`.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from breakwater_core.events import OrderEvent
from breakwater_runtime.service import run_service
from executor_service.bus_publisher import BusPublisher
from executor_service.bybit_account import BybitAccount
from executor_service.intent_record import IntentRecord
from executor_service.main import run
from executor_service.record_store import RecordStore
from executor_service.settings import ExecutorSettings

_REQUEST_IS_OUT_S = 0.004


class KillPoints:
    """Wraps an executor's steps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._orders: dict[str, str] = {}

    def install(self) -> None:
        write, read = RecordStore.write, RecordStore.read
        place, find, position = (
            BybitAccount.place_market_order,
            BybitAccount.find_order,
            BybitAccount.position_size,
        )
        publish = BusPublisher.publish

        async def killable_write(store: RecordStore, key: str, record: IntentRecord, revision: int) -> int:
            name = self._learn(record)
            state = "closed" if record.is_closed else "open"
            self.passes(f"{name}.record-{state}.{record.next_number}.before")
            written = await write(store, key, record, revision)
            self.passes(f"{name}.record-{state}.{record.next_number}.after")
            return written

        async def learning_read(store: RecordStore, key: str) -> tuple[IntentRecord, int] | None:
            found = await read(store, key)
            if found is not None:
                self._learn(found[0])
            return found

        async def killable_place(account: BybitAccount, *, order_link_id: str, **order: Any) -> None:
            name = self._orders[order_link_id]
            self.passes(f"{name}.before")
            request = asyncio.ensure_future(place(account, order_link_id=order_link_id, **order))
            await asyncio.wait({request}, timeout=_REQUEST_IS_OUT_S)
            self.passes(f"{name}.under-way")
            await request
            self.passes(f"{name}.answered")

        async def killable_find(account: BybitAccount, *, order_link_id: str, **query: Any) -> Any:
            order = await find(account, order_link_id=order_link_id, **query)
            self.passes(f"{self._orders[order_link_id]}.looked-up")
            return order

        async def killable_position(account: BybitAccount, *, symbol: str, **query: Any) -> Any:
            size = await position(account, symbol=symbol, **query)
            self.passes(f"{symbol}.reducing.position.{'flat' if size == 0 else 'open'}.read")
            return size

        async def killable_publish(publisher: BusPublisher, event: OrderEvent) -> None:
            state = "closing" if event.intent_closed else event.status.value
            name = f"{event.symbol}.{event.leg.value}.publish-{state}.{event.child}"
            self.passes(f"{name}.before")
            await publish(publisher, event)
            self.passes(f"{name}.after")

        RecordStore.write, RecordStore.read = killable_write, learning_read
        BybitAccount.place_market_order = killable_place
        BybitAccount.find_order = killable_find
        BybitAccount.position_size = killable_position
        BusPublisher.publish = killable_publish

    def passes(self, name: str) -> None:
        (self._folder / "passed" / name).touch()
        try:
            (self._folder / "kill" / name).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _learn(self, record: IntentRecord) -> str:
        _run, _account, _version, symbol, _day, leg, _attempt = record.intent_id.split("/")
        for child in record.children:
            self._orders[child.order_link_id] = f"{symbol}.{leg}.order.{child.number}"
        return f"{symbol}.{leg}"


def start(folder: Path) -> int:
    """Fork one executor and return its process id."""
    child = os.fork()
    if child:
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    KillPoints(folder).install()
    os._exit(run_service("executor", ExecutorSettings, run))


def keep_running(folder: Path, count: int) -> None:
    """Keep that many executors running until SIGTERM, then kill them."""
    children = {start(folder) for _ in range(count)}

    def end(*_signal: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        child, status = os.wait()
        children.discard(child)
        if not os.WIFSIGNALED(status):
            sys.stderr.write(f"an executor ended by itself with {status}\n")
            end()
        children.add(start(folder))


if __name__ == "__main__":
    keep_running(Path(sys.argv[1]), int(sys.argv[2]))
