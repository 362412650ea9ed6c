"""The shared budget over a real bus: processes that are killed and stopped, a bus that goes away, a ban for all."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from breakwater_budget.shared import shared_budget, venue_of
from breakwater_bybit.budget import ACCOUNT_LIMITS, Priority
from breakwater_bybit.budget_shared import SharedBudget
from breakwater_bybit.errors import IpBanned
from breakwater_cli.nats_process import NatsProcess
from breakwater_core.events import Alert, Severity
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings

URL = "https://api.example:8443/"
CREATE = "order/create"
ADDRESS_LIMIT = 60


@asynccontextmanager
async def budgets(server: NatsProcess, count: int, url: str = URL) -> AsyncIterator[list[tuple[Bus, SharedBudget]]]:
    """Budgets of processes that have a connection each."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            settings = ServiceSettings(nats_url=server.url, run_id="test-run")
            bus = await stack.enter_async_context(connect(settings, name=f"test-{number}"))
            opened = shared_budget(bus, service="executor", instance=str(number), exchange_url=url)
            found.append((bus, await stack.enter_async_context(opened)))
        yield found


async def send(
    budget: SharedBudget, priority: Priority = Priority.EXIT, *, uid: str = "main", status: int = 200
) -> None:
    async with budget.take(CREATE, uid, priority) as lease:
        lease.report(headers={}, ret_code=0, http_status=status)


class Sent:
    """What workers have sent: time and account."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, int]] = []
        self.by_worker: Counter[int] = Counter()
        self._grew = asyncio.Event()

    async def read(self, worker: asyncio.subprocess.Process) -> None:
        assert worker.stdout is not None
        while line := await worker.stdout.readline():
            time_ms, account = line.split()
            self.lines.append((int(time_ms), int(account)))
            self.by_worker[worker.pid] += 1
            self._grew.set()

    async def span(self, length_ms: int) -> None:
        """Return when requests were sent over so long a time, from now on."""
        first = len(self.lines)
        while len(self.lines) <= first or self.lines[-1][0] - self.lines[first][0] < length_ms:
            self._grew.clear()
            await self._grew.wait()

    def most(self, length_ms: int, account: int | None = None) -> int:
        times = sorted(time_ms for time_ms, of in self.lines if account in (None, of))
        return max(sum(start <= time_ms < start + length_ms for time_ms in times) for start in times)


async def test_kills_and_stops_of_processes_let_no_window_be_exceeded(nats_server: NatsProcess) -> None:
    script = str(Path(__file__).parent / "worker.py")
    sent, workers = Sent(), []
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:

        async def start(number: int) -> None:
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, script, nats_server.url, f"w{number}", str(ADDRESS_LIMIT)),
                stdout=asyncio.subprocess.PIPE,
            )
            workers.append(worker)
            tasks.create_task(sent.read(worker))

        try:
            for number in range(3):
                await start(number)
            await sent.span(1_500)
            workers[0].send_signal(signal.SIGSTOP)  # with slots in hand and requests on their way
            workers[1].kill()
            await start(3)
            await sent.span(2_600)
            workers[0].send_signal(signal.SIGCONT)
            sent.by_worker.clear()
            await sent.span(7_000)
        finally:
            for worker in workers:
                if worker.returncode is None:
                    worker.kill()
    assert sent.most(5_000) <= ADDRESS_LIMIT
    assert sent.most(5_000) >= 0.8 * ADDRESS_LIMIT
    assert set(sent.by_worker) == {workers[number].pid for number in (0, 2, 3)}  # all that live had their turns
    for account in range(3):
        assert sent.most(1_000, account) <= ACCOUNT_LIMITS[CREATE]


async def test_a_process_that_stops_between_leave_and_sending_does_not_send_when_it_goes_on(
    nats_server: NatsProcess,
) -> None:
    script = str(Path(__file__).parent / "worker.py")
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, script, nats_server.url, "w", str(ADDRESS_LIMIT), "stop"), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"False\n"
            async with budgets(nats_server, 1, "http://exchange:1") as found:
                budget = found[0][1]
                for _ in range(9):
                    await send(budget, uid="account-0")
                await send(budget, uid="account-0")  # the last one waits until the stopped process can send no more
            worker.send_signal(signal.SIGCONT)
            assert await worker.stdout.readline() == b"True\n"
            assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()


async def test_a_ban_stops_every_process_raises_one_alert_and_outlives_all_processes(nats_server: NatsProcess) -> None:
    alerts: list[Alert] = []

    def handle(delivery: Delivery) -> None:
        alerts.append(codec.decode(delivery.subject, delivery.payload).value)

    async with budgets(nats_server, 3) as found:
        bus = found[0][0]
        async with read_stream(bus, name="a", stream="ALERT", filters=["alert.>"], start=1, handle=handle):
            await send(found[1][1], status=403)
            async with asyncio.timeout(90):
                for _, budget in found:
                    while True:  # those that have not heard yet may still send
                        try:
                            await send(budget)
                        except IpBanned:
                            break
                        await asyncio.sleep(0.05)
                while not alerts:
                    await asyncio.sleep(0.01)
    async with budgets(nats_server, 1) as found:
        async with asyncio.timeout(90):
            while found[0][1].left(CREATE, "main"):
                await asyncio.sleep(0.01)
        with pytest.raises(IpBanned):
            await send(found[0][1])
    assert [(alert.name, alert.severity) for alert in alerts] == [("address_banned", Severity.CRITICAL)]


async def test_exits_go_out_while_the_bus_is_away_and_entries_when_it_is_back(nats_server: NatsProcess) -> None:
    async with budgets(nats_server, 1) as found:
        budget = found[0][1]
        await send(budget, Priority.ENTRY)
        nats_server.kill()
        entry = asyncio.create_task(send(budget, Priority.ENTRY, uid="other"))
        async with asyncio.timeout(5):
            await send(budget, Priority.EXIT)
            await send(budget, Priority.EXIT, uid="other")
        assert not entry.done()
        nats_server.start()
        await asyncio.wait_for(entry, 20)


async def test_a_process_that_starts_later_knows_what_was_sent_and_how_long_ago(nats_server: NatsProcess) -> None:
    async with budgets(nats_server, 1) as found:
        for _ in range(10):
            await send(found[0][1])
    async with budgets(nats_server, 1) as found:
        budget = found[0][1]
        async with asyncio.timeout(90):
            began_s = asyncio.get_running_loop().time()
            await send(budget)
            waited_s = asyncio.get_running_loop().time() - began_s
    assert waited_s < 3  # one window, and what open grants are held for, at most


def test_an_exchange_is_known_by_host_and_port() -> None:
    assert venue_of("https://api.bybit.com") == "api-bybit-com"
    assert venue_of("http://user:secret@127.0.0.1:80/v5") == "127-0-0-1-80"
