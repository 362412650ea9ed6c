"""Recording: the live stream to Parquet through market-data, or other recordings converted."""

import asyncio
import sys
from pathlib import Path

from breakwater_cli.nats_process import NatsProcess
from breakwater_cli.replay import running
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import LIVE_RUN_ID
from breakwater_recordings.parquet import RecordingWriter
from breakwater_recordings.sources import open_recording
from breakwater_runtime.config_file import write_config

_SPAN_MS = 3_600_000


def convert(files: list[str], config: BreakwaterConfig, output: Path) -> int:
    """Write other recordings as a Parquet recording; return the number of trades.

    Raises:
        InvalidInputError: If a file is bad, or the folder already holds a recording.
    """
    if output.exists() and any(output.rglob("*.parquet")):
        raise InvalidInputError(f"--out {output} already holds a recording; name an empty folder")
    session = config.session.session()
    recording = open_recording(files, session=session, symbols=config.portfolio.symbols or None)
    trades = 0
    with RecordingWriter(output) as writer:
        for symbol in recording.symbols:
            for start_ms, end_ms in recording.coverage[symbol].intervals:
                writer.cover(symbol, start_ms, end_ms)
        for window in recording.windows(recording.first_ms, recording.last_ms + 1, _SPAN_MS):
            for batch in window.batches:
                writer.write(batch)
                trades += len(batch)
    return trades


async def record_live(config: BreakwaterConfig, output: Path, *, exchange_url: str, stream_url: str) -> None:
    """Run market-data alone and let it record until interrupted.

    Raises:
        InvalidInputError: If no symbol is configured.
    """
    if not config.portfolio.symbols:
        raise InvalidInputError('name the symbols to record: --set "portfolio.symbols=[BTCUSDT, ETHUSDT]"')
    config_path = output / "config.json"
    write_config(config, config_path)
    nats = NatsProcess(output / ".bus", with_users=True)
    nats.start()
    try:
        plan = SystemPlan(
            run_id=LIVE_RUN_ID,
            nats_url=nats.url,
            config_path=config_path,
            config=config,
            database_url="",
            directory=output,
            passwords=nats.passwords,
        )
        await nats.make_streams()
        values = {
            "MODE": "live",
            "RECORD_DIRECTORY": str(output),
            "EXCHANGE_URL": exchange_url,
            "PUBLIC_STREAM_URL": stream_url,
        }
        async with running(output / ".logs", [plan.market_data(values)]):
            sys.stderr.write(f"recording {', '.join(config.portfolio.symbols)} to {output}; ctrl-C ends\n")
            await asyncio.Event().wait()
    finally:
        nats.stop()
