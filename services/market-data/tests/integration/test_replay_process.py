"""The real process: killed at any moment it goes on, bad input ends it with a line that says why."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from breakwater_core.market import Clock, ClockKind
from breakwater_runtime.bus import Bus
from market_data_service.main import run
from market_data_service.settings import MarketDataSettings, Mode

RUN_ID = "replay-test"


def environment(server: Any, *sources: Path, **changes: str) -> dict[str, str]:
    values = {
        "NATS_URL": server.url,
        "RUN_ID": RUN_ID,
        "MODE": "replay",
        "RECORDINGS": json.dumps([str(source) for source in sources]),
        "WINDOW_S": "1800",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARKET_DATA_")}
    return inherited | {f"MARKET_DATA_{name}": value for name, value in (values | changes).items()}


def start(variables: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "market_data_service"],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


async def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    process.terminate()
    return await finish(process)


async def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, errors = await asyncio.to_thread(process.communicate)
    return process.returncode, errors.decode()


async def forget_message_ids_at_once(bus: Bus) -> None:
    """Make the stream forget message ids, as it does in a pause longer than its duplicate window."""
    config = (await bus.api("STREAM.INFO.MD"))["config"]
    await bus.api("STREAM.UPDATE.MD", config | {"duplicate_window": 100_000_000})


async def test_killed_at_any_moment_the_process_goes_on_and_the_stream_is_the_same(
    nats_server: Any, recordings: Any, other_parties: Any, bus: Bus
) -> None:
    recording = recordings.make(days=3, trades_per_day=480)
    variables = environment(nats_server, recording)
    await forget_message_ids_at_once(bus)
    at_a_days_end, anywhere = 48, random.Random(7).randrange(50, 143)
    async with other_parties() as parties:
        for window in (at_a_days_end, anywhere):
            process = start(variables)
            await parties.until_clock(ClockKind.ADVANCED, window)
            process.kill()
            assert (await finish(process))[0] == -9
        process = start(variables)
        await parties.ended.wait()
        code, _ = await end(process)
    assert code == 0
    interrupted = parties.described()
    await bus.api("STREAM.PURGE.MD", {})
    settings = MarketDataSettings(
        nats_url=nats_server.url,
        run_id="replay-undisturbed",
        mode=Mode.REPLAY,
        recordings=(str(recording),),
        window_s=1800.0,
    )
    async with other_parties("replay-undisturbed") as others:
        stop = asyncio.Event()
        undisturbed = asyncio.create_task(run(settings, stop))
        await others.ended.wait()
        stop.set()
        await undisturbed
    assert interrupted == others.described()
    assert [e.window for e in others.seen if isinstance(e, Clock) and e.kind is ClockKind.ADVANCED] == list(
        range(1, 145)
    )


def damaged_parquet(tmp_path: Path, recordings: Any) -> Path:
    folder = recordings.make(days=2, symbols=("BTCUSDT",), trades_per_day=20_000)
    path = max(folder.rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[2000:2400] = b"\xff" * 400
    path.write_bytes(content)
    return Path(folder)


async def test_a_recording_damaged_in_the_middle_ends_the_process_with_code_2_and_without_an_end_of_the_run(
    nats_server: Any, recordings: Any, other_parties: Any, tmp_path: Path, bus: Bus
) -> None:
    folder = damaged_parquet(tmp_path, recordings)
    async with other_parties() as parties:
        code, errors = await finish(start(environment(nats_server, folder)))
        lines = [json.loads(line) for line in errors.splitlines()]
        assert code == 2
        assert lines[-1]["event"] == "service_failed"
        assert ".parquet" in lines[-1]["reason"]
        assert not parties.ended.is_set()
    alert = await bus.jetstream.get_last_msg("ALERT", "alert.critical.market-data")
    assert b".parquet" in (alert.data or b"")


async def test_a_bad_file_ends_the_process_with_code_2_and_one_line_that_names_it(
    nats_server: Any, tmp_path: Path
) -> None:
    path = tmp_path / "BTCUSDT.csv"
    path.write_text("timestamp,open,high,low,close,volume\n0,1,2,3,1,1\n")
    code, errors = await finish(start(environment(nats_server, path)))
    failures = [line for line in map(json.loads, errors.splitlines()) if line["level"] == "error"]
    assert code == 2
    assert len(failures) == 1
    assert "row 2" in failures[0]["reason"]
    assert str(path) in failures[0]["reason"]
