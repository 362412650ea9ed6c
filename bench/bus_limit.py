"""The bus's own limit: the messages of a replay, published pipelined by bare nats-py and read by a bare subscriber."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bench.bare_bus import write_payloads
from bench.effort import Effort
from bench.processes import helper, nats_server
from breakwater_core.market import LIVE_RUN_ID
from breakwater_recordings.sources import open_recording
from breakwater_runtime import codec
from breakwater_runtime.bus import connect
from breakwater_runtime.settings import ServiceSettings
from market_data_service.replay_plan import ReplayPlan
from market_data_service.replay_script import MAX_TRADES_PER_MESSAGE, parts_of


@dataclass(frozen=True)
class Messages:
    """The messages of one replayed day, encoded, in a file.

    Attributes:
        path: Where they are; see `bare_bus.read_payloads`.
        count: Number of messages.
        trades: Number of trades in them.
    """

    path: Path
    count: int
    trades: int


def encode_day(source: str, plan: ReplayPlan, path: Path) -> Messages:
    """Encode a day as market-data cuts it in a replay."""
    recording = open_recording([source], session=plan.session)
    span_ms = recording.suggested_span_ms(plan.start_ms, plan.end_ms)
    payloads: list[bytes] = []
    trades = 0
    for window in recording.windows(plan.start_ms, plan.end_ms, span_ms):
        for batch in window.batches:
            for part in parts_of(batch, MAX_TRADES_PER_MESSAGE):
                payloads.append(codec.encode(part, "replay-bench").payload)
                trades += len(part)
    write_payloads(path, payloads)
    return Messages(path, len(payloads), trades)


async def bare_trades_per_second(effort: Effort, messages: Messages, rounds: int) -> float:
    """Return the trades a second from the first publish until the last message arrived, through a file stream."""
    folder = effort.scratch("bus-limit")
    with nats_server(folder / "bus") as nats:
        settings = ServiceSettings(nats_url=nats.url, run_id=LIVE_RUN_ID)
        async with connect(settings, name="bench"):
            pass  # makes the streams, with the settings of production
        reading = {"role": "subscriber", "url": nats.url, "messages": messages.count * rounds}
        writing = {"role": "publisher", "url": nats.url, "payloads": str(messages.path), "rounds": rounds}
        async with helper("bare_bus", reading) as subscriber, helper("bare_bus", writing) as publisher:
            await asyncio.gather(subscriber.answer(), publisher.answer())
            published = await publisher.ask("go")
            received = await subscriber.answer()
    took_ns: int = received["ended_ns"] - published["began_ns"]
    return messages.trades * rounds / (took_ns / 1e9)
