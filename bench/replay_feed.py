"""A recording through market-data, a JetStream file stream and signal, as processes, as fast as it goes."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from bench.bus_limit import bare_trades_per_second, encode_day
from bench.effort import Effort
from bench.figures import Figure, Section, Target
from bench.processes import (
    nats_server,
    only_waits_for,
    processor_seconds,
    resident_mb,
    services,
    while_alive,
    with_settings,
)
from bench.recordings import BusyRecording, busy_recording
from breakwater_cli.processes import ProcessGroup
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.session import Session
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.readers import wait_for_value
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key
from market_data_service.replay_plan import ReplayPlan

RUN_ID = "replay-bench"
_SPEED = Target(must=3_000_000, goal=6_000_000)
_FLAT = Target(must=1.25, goal=1.1, at_most=True)
_SERVICES = ("market-data", "signal")
_SAMPLE_INTERVAL_S = 0.2


@dataclass
class Run:
    """What was seen of one replay.

    Attributes:
        trades: Trades that went through.
        seconds: From the first message on the bus to the end of the recording, as the stream stamped them.
        messages: Messages in the market stream.
        highest_mb: Highest resident memory per service.
        busy: Share of the time for which a process used a core.
    """

    trades: int = 0
    seconds: float = 0.0
    messages: int = 0
    highest_mb: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)


async def measure(effort: Effort) -> Section:
    """Replay the whole recording and its first third, and measure the bus's own limit beside it."""
    days = effort.pick(7, 3)
    effort.tell("making the recording, unless it is there")
    recording = await busy_recording(effort.folder, days=days, trades_per_day=effort.pick(2_500_000, 100_000))
    session = Session()
    day_plan = ReplayPlan(session, recording.day(1), recording.day(1), span_ms=0)
    messages = encode_day(str(recording.folder), day_plan, effort.scratch("payloads") / "day.bin")
    long_runs, short_runs, limits = [], [], []
    for number in range(effort.repetitions):
        effort.tell(f"replay, {number + 1} of {effort.repetitions}")
        long_runs.append(await _replay(effort, recording, days))
        short_runs.append(await _replay(effort, recording, days // 3))
        limits.append(await bare_trades_per_second(effort, messages, max(1, days // 3)))
    run = long_runs[0]
    speed = tuple(run.trades / run.seconds for run in long_runs)
    figures = [
        Figure("replay through market-data, bus and signal", "trades/s", speed, _SPEED, "bare nats-py", tuple(limits))
    ]
    figures += [
        Figure(
            f"{name}, highest memory",
            "MB",
            tuple(run.highest_mb[name] for run in long_runs),
            limit_name="in a third of it",
            limit_values=tuple(run.highest_mb[name] for run in short_runs),
        )
        for name in _SERVICES
    ]
    figures.append(
        Figure(
            "growth of memory, whole / third, larger of both",
            "ratio",
            tuple(
                max(long.highest_mb[name] / short.highest_mb[name] for name in _SERVICES)
                for long, short in zip(long_runs, short_runs, strict=True)
            ),
            _FLAT,
        )
    )
    figures += [
        Figure(f"{name}, a core is busy", "%", tuple(100 * run.busy[name] for run in long_runs))
        for name in (*_SERVICES, "nats-server")
    ]
    per_message, bare_per_message = run.trades / max(1, run.messages), messages.trades / messages.count
    notes = (
        f"{run.trades:,} trades of ten symbols in {days} days, {per_message:,.0f} a message; in step with signal.",
        "k = 10, so that no intent arises; every trade is searched for an entry all the same.",
        f"bare nats-py: the messages of one day ({bare_per_message:,.0f} trades each), {max(1, days // 3)} times,",
        "published pipelined without ids through the same file stream, read by an ordered push subscriber.",
    )
    return Section("market-data -> JetStream -> signal, speed max", tuple(figures), notes)


async def _replay(effort: Effort, recording: BusyRecording, days: int) -> Run:
    folder = effort.scratch("replay-feed")
    config = BreakwaterConfig.parse(
        {"strategy": {"k_long": 10, "k_short": 10}, "portfolio": {"symbols": list(DEFAULT_SYMBOLS)}}
    )
    config_path = folder / "config.json"
    write_config(config, config_path)
    with nats_server(folder / "bus") as nats:
        plan = SystemPlan(
            run_id=RUN_ID,
            nats_url=nats.url,
            config_path=config_path,
            config=config,
            database_url="",
            directory=folder,
            recordings=(str(recording.folder),),
        )
        values = plan.replay_values(speed="max", first_day=recording.day(1), last_day=recording.day(days))
        market_data = with_settings(plan.market_data(values), {"MARKET_DATA_LOCKSTEP": '["signal"]'})
        signal = next(worker for worker in plan.workers() if worker.name == "signal")
        server_pid = nats.process.pid if nats.process is not None else 0
        async with (
            connect(ServiceSettings(nats_url=nats.url, run_id=RUN_ID), name="bench") as bus,
            services(folder / "logs", [signal], until_ready=False) as group,
        ):
            await only_waits_for(signal, "market_data")
            group.start([market_data])
            pids = {name: group.children[name].process.pid for name in _SERVICES} | {"nats-server": server_pid}
            return await while_alive(group, _watched(bus, group, pids))


async def _watched(bus: Bus, group: ProcessGroup, pids: Mapping[str, int]) -> Run:
    """Follow a replay to its end."""
    began = await _first_message(bus)
    used = {name: processor_seconds(pid) for name, pid in pids.items()}
    key = progress_key(RUN_ID, "market-data")
    value = await wait_for_value(bus, CHECKPOINT_BUCKET, key, lambda value: bool(json.loads(value)["ended"]))
    state = (await bus.api("STREAM.INFO.MD"))["state"]
    ended = datetime.fromisoformat(state["last_ts"])
    run = Run(
        trades=json.loads(value)["trades_total"],
        seconds=(ended - datetime.fromisoformat(state["first_ts"])).total_seconds(),
        messages=state["messages"],
        highest_mb={name: resident_mb(group.children[name].process.pid, highest=True) for name in _SERVICES},
    )
    watched_s = (ended - began).total_seconds()
    run.busy = {name: (processor_seconds(pid) - used[name]) / watched_s for name, pid in pids.items()}
    return run


async def _first_message(bus: Bus) -> datetime:
    """Return when it was first seen that the market stream holds something."""
    while True:
        with suppress(KeyError):
            state = (await bus.api("STREAM.INFO.MD"))["state"]
            if state["messages"]:
                return datetime.fromisoformat(state["first_ts"])
        await asyncio.sleep(_SAMPLE_INTERVAL_S)
