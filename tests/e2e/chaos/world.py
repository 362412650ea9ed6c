"""One run: the whole system as processes, the deeds of the plan, and everything that is left to check afterwards."""

import asyncio
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from breakwater_cli.completion import ProgressWatch, wait_for_end, wait_until_settled
from breakwater_cli.nats_process import AUDITOR, NatsProcess
from breakwater_cli.processes import ProcessGroup, ProcessSpecification
from breakwater_cli.replay import ReplayRequest, first_prices, prepare
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Alert, Fill, Intent, OrderEvent
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import write_synthetic
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.readers import Delivery, read_stream
from reporter_service.reading import load_report
from tests.e2e.chaos import forked, slack
from tests.e2e.chaos.plan import Action, ChaosPlan, Deed
from tests.e2e.chaos.postgres import PostgresProcess

FIRST_DAY = date(2024, 1, 1)
DAYS = 5
TRADES_PER_DAY = 6_000
RUN_TIMEOUT_S = 240
RUN_ID = "chaos"
BAN_S = 1.5
"""As long as the injected bans last, and some: ten minutes would only be slow."""


@dataclass(frozen=True)
class Evidence:
    """What a run left behind.

    Attributes:
        books: The exchange's own books, as `/paper/books` gives them.
        report: The reporter's report.
        intents, order_events, fills, alerts: What is on the bus.
        dead_letters: Messages that were put aside.
        told: How often each execution was told in Slack.
        told_unknown: Notices of which the notifier could not know whether Slack has them.
        deeds: What was done, by kind and target.
        injected: Faults of the exchange, by kind.
        seconds: How long the run took.
        denied: What the bus did not permit a service, as its log tells it.
    """

    books: dict[str, Any]
    report: dict[str, Any]
    intents: list[Intent]
    order_events: list[OrderEvent]
    fills: list[Fill]
    alerts: list[Alert]
    dead_letters: list[str]
    told: Counter[str]
    told_unknown: int
    deeds: Counter[str]
    injected: dict[str, int]
    seconds: float
    denied: tuple[str, ...] = ()


def configuration(plan: ChaosPlan) -> BreakwaterConfig:
    """Return the strategy of a run: it trades often."""
    return BreakwaterConfig.parse(
        {
            "strategy": {
                "k_long": 0.2,
                "k_short": 0.2,
                "ma_window": 2,
                "filter": plan.filter,
                "stop_loss": plan.stop_loss,
            }
        }
    )


def recording(folder: Path, number: int) -> Path:
    """Return a synthetic recording, written the first time."""
    path = folder / f"recording-{number}"
    if not (path / "written").exists():
        shutil.rmtree(path, ignore_errors=True)
        session = BreakwaterConfig().session.session()
        write_synthetic(
            path,
            seed=1000 + number,
            first_day=FIRST_DAY,
            days=DAYS,
            trades_per_day_total=TRADES_PER_DAY,
            session=session,
        )
        (path / "written").touch()
    return path


@dataclass
class World:
    """The running system of one plan."""

    plan: ChaosPlan
    folder: Path
    nats: NatsProcess
    group: ProcessGroup
    slack: slack.SlackStandIn
    postgres: PostgresProcess | None
    deeds: Counter[str] = field(default_factory=Counter)
    _absences: set[asyncio.Task[None]] = field(default_factory=set)

    async def do(self, action: Action) -> None:
        """Do a deed; what it stops is started again, here or by whoever watches the processes."""
        self.deeds[f"{action.deed} {action.target.rstrip('-0123456789')}"] += 1
        match action.target:
            case "slack":
                self.slack.go_away(action.seconds)
            case "nats":
                await self._nats(action)
            case "postgres":
                assert self.postgres is not None
                await asyncio.to_thread(self.postgres.kill)
                self._later(action.seconds if action.deed is Deed.AWAY else 0.0, self.postgres.start)
            case name:
                self._process(action, name)

    def _process(self, action: Action, name: str) -> None:
        process = self.group.children[name].process
        match action.deed:
            case Deed.KILL:
                process.kill()
            case Deed.RESTART:
                process.send_signal(signal.SIGTERM)
            case _:
                process.send_signal(signal.SIGSTOP)
                self._later(action.seconds, lambda: process.send_signal(signal.SIGCONT))

    async def _nats(self, action: Action) -> None:
        server = self.nats.process
        assert server is not None
        if action.deed is Deed.PAUSE:
            server.send_signal(signal.SIGSTOP)
            self._later(action.seconds, lambda: server.send_signal(signal.SIGCONT))
            return
        end = self.nats.kill if action.deed is Deed.KILL else self.nats.stop
        await self.back()
        await asyncio.to_thread(end)
        await asyncio.to_thread(self.nats.start)

    def _later(self, seconds: float, deed: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(deed)

        task = asyncio.create_task(wait())
        self._absences.add(task)
        task.add_done_callback(self._absences.discard)

    async def back(self) -> None:
        """Return once everything that is paused or away has come back."""
        while self._absences:
            await asyncio.gather(*self._absences)

    async def play(self, watch: ProgressWatch) -> None:
        """Do the deeds of the plan, each when its time has come."""
        for action in self.plan.actions:
            while watch.latest is None or watch.latest.share < action.share:
                if watch.latest is not None and watch.latest.ended:
                    break
                await asyncio.sleep(0.01)
            if action.target in {"nats", "postgres"}:
                await self.back()  # neither is killed twice at a time
            await self.do(action)


async def run(plan: ChaosPlan, folder: Path, recordings: Path) -> Evidence:
    """Play a plan to its end and return what it left behind.

    Raises:
        BreakwaterError: If the run does not come to its end.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = str(await asyncio.to_thread(recording, recordings, plan.recording))
    request = ReplayRequest(sources=(source,), config=configuration(plan), output=folder, run_id=RUN_ID)
    prepared = await asyncio.to_thread(prepare, request)
    write_config(prepared.config, folder / "config.json")
    started = time.perf_counter()
    async with AsyncExitStack() as stack:
        nats = NatsProcess(folder / "bus", with_users=True, auditor=True)
        nats.start()
        stack.callback(nats.stop)
        await nats.make_streams()
        postgres = None
        if plan.database == "postgres":
            postgres = PostgresProcess()
            stack.callback(postgres.remove)
            await asyncio.to_thread(postgres.create)
            await asyncio.to_thread(postgres.start)
        channel = slack.SlackStandIn()
        await channel.start()
        stack.push_async_callback(channel.stop)
        system = SystemPlan(
            run_id=prepared.run_id,
            nats_url=nats.url,
            config_path=folder / "config.json",
            config=prepared.config,
            database_url=postgres.url if postgres else f"sqlite:///{folder / 'breakwater.db'}",
            directory=folder,
            recordings=request.sources,
            executors=plan.executors,
            signals=plan.signals,
            passwords=nats.passwords,
        )
        prices = first_prices(open_recording([source], session=prepared.config.session.session()))
        exchange_url = system.exchange_url
        values = system.replay_values(speed="max", first_day=prepared.first_day, last_day=prepared.last_day)
        exchange = await stack.enter_async_context(_running(folder / "logs"))
        enforced = {"REFERENCE_PRICES": json.dumps(prices), "RATE_LIMITS": "true"}
        exchange.start([system.paper_exchange(enforced)])
        group = await stack.enter_async_context(_running(folder / "logs"))
        early = [system.market_data(values), *system.signal_processes(), *_book_keepers(system, channel)]
        group.start(early)
        bus = await stack.enter_async_context(connect(nats.settings(AUDITOR, system.run_id), name="chaos"))
        await exchange.wait_until_ready()
        await _set_faults(exchange_url, plan)
        group.start(_with_budget(system.executor_processes()))
        world = World(plan, folder, nats, group, channel, postgres)
        async with asyncio.timeout(RUN_TIMEOUT_S):
            trades = await _play(world, bus)
        injected = await _injected(exchange_url)
        books = await _get(f"{exchange_url}/paper/books")
        report = await asyncio.to_thread(load_report, system.database_url, system.run_id)
        report["counters"]["trades"] = trades
        return replace(
            await _evidence(bus, books, report, injected),
            told=channel.executions(),
            told_unknown=_unknown_notices(folder),
            deeds=world.deeds,
            seconds=time.perf_counter() - started,
            denied=_denied(folder),
        )


async def _play(world: World, bus: Bus) -> int:
    """Let the recording play to its end, do the deeds meanwhile, and return the number of trades played."""
    watch = ProgressWatch()

    async def to_the_end() -> int:
        player = asyncio.create_task(world.play(watch))
        try:
            progress = await wait_for_end(bus, watch)
            await player
            await world.back()
            await wait_until_settled(bus)
        finally:
            player.cancel()
        return progress.trades_total

    ending, watcher = asyncio.create_task(to_the_end()), asyncio.create_task(world.group.watch())
    try:
        await asyncio.wait({ending, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if watcher.done():
            watcher.result()
        return ending.result()
    finally:
        ending.cancel()
        watcher.cancel()


def _with_budget(executors: list[ProcessSpecification]) -> list[ProcessSpecification]:
    """Return the executors with the budget that they share over the bus: the exchange enforces its limits here."""
    budget = {"EXECUTOR_BUDGET": "shared", "EXECUTOR_BAN_S": str(BAN_S)}
    return [replace(executor, environment={**executor.environment, **budget}) for executor in executors]


def _book_keepers(system: SystemPlan, channel: slack.SlackStandIn) -> list[ProcessSpecification]:
    """Return reporter and notifier; the latter tells each event in a message of its own, to the Slack of the run."""
    reporter, notifier = system.book_keepers()
    told = {
        "NOTIFIER_SLACK_TOKEN": slack.TOKEN,
        "NOTIFIER_SLACK_CHANNEL": slack.CHANNEL,
        "NOTIFIER_SLACK_BASE_URL": channel.url,
        "NOTIFIER_MESSAGE_INTERVAL_S": "0",
        "NOTIFIER_GROUP_AFTER": "1000",
        "NOTIFIER_GROUP_WINDOW_S": "0",
        "NOTIFIER_RETRY_MAX_S": "1",
        "NOTIFIER_REDELIVERY_S": "2",
    }
    return [reporter, replace(notifier, environment={**notifier.environment, **told})]


@asynccontextmanager
async def _running(logs: Path) -> AsyncIterator[ProcessGroup]:
    group = ProcessGroup(logs, spawn=forked.start, restarts_without_dependency=True)
    try:
        yield group
    finally:
        await group.stop()


async def _set_faults(url: str, plan: ChaosPlan) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.put(f"{url}/paper/faults", json={"seed": plan.seed, "rules": list(plan.faults)})
        assert answer.status_code == httpx.codes.OK, answer.text


async def _injected(url: str) -> dict[str, int]:
    """Return the faults so far, and put an end to them."""
    faults = await _get(f"{url}/paper/faults")
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        await client.delete(f"{url}/paper/faults")
    counts: dict[str, int] = faults["hits"]
    return counts


async def _get(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.get(url)
        answer.raise_for_status()
        values: dict[str, Any] = answer.json()
        return values


async def _evidence(bus: Bus, books: dict[str, Any], report: dict[str, Any], injected: dict[str, int]) -> Evidence:
    events: dict[str, list[Any]] = {}
    for stream in ("INTENT", "ORDER", "FILL", "ALERT"):
        events[stream] = [codec.decode(found.subject, found.payload).value for found in await _all_of(bus, stream)]
    return Evidence(
        books=books,
        report=report,
        intents=events["INTENT"],
        order_events=events["ORDER"],
        fills=events["FILL"],
        alerts=events["ALERT"],
        dead_letters=[found.subject for found in await _all_of(bus, "DEAD")],
        told=Counter(),
        told_unknown=0,
        deeds=Counter(),
        injected=injected,
        seconds=0.0,
    )


async def _all_of(bus: Bus, stream: str) -> list[Delivery]:
    state = (await bus.api(f"STREAM.INFO.{stream}"))["state"]
    if not state["messages"]:
        return []
    found: list[Delivery] = []
    complete = asyncio.Event()

    def take(delivery: Delivery) -> None:
        found.append(delivery)
        if delivery.sequence >= state["last_seq"]:
            complete.set()

    async with read_stream(bus, name="evidence", stream=stream, filters=[f"{stream.lower()}.>"], start=1, handle=take):
        await complete.wait()
    return found


def _denied(folder: Path) -> tuple[str, ...]:
    texts = (log.read_text(encoding="utf-8", errors="replace") for log in (folder / "logs").iterdir())
    return tuple(line for text in texts for line in text.splitlines() if '"bus_permission_denied"' in line)


def _unknown_notices(folder: Path) -> int:
    total = 0
    for line in (folder / "logs" / "notifier.log").read_text(encoding="utf-8", errors="replace").splitlines():
        if '"notices_outcome_unknown"' in line:
            total += int(json.loads(line)["count"])
    return total
