"""`python -m bench [name...]`: runs benchmarks and prints their figures; they never fail on a figure."""

import argparse
import asyncio
import importlib
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.durable_bus import sync_ms
from bench.effort import Effort
from bench.figures import Section
from bench.machine import machine_facts
from bench.processes import REPOSITORY
from bench.report import header_text, section_text, write_json
from breakwater_core.errors import BreakwaterError

NAMES = (
    "strategy",
    "memory",
    "replay_feed",
    "full_replay",
    "latency",
    "executors",
    "burst",
    "scaling",
    "research",
    "tracing",
    "images",
)
_FAILED = 1
_INTERRUPTED = 130


def main() -> int:
    """Run the benchmarks named on the command line; return the exit code: 0, 1 if one failed."""
    options = _parse()
    effort = Effort(folder=options.folder, repetitions=options.repetitions, is_quick=options.quick)
    facts = machine_facts() | {"disk": f"{sync_ms(effort.folder):.2f} ms to sync 256 bytes at {effort.folder}"}
    print(header_text(facts), flush=True)
    if effort.is_quick:
        print("quick sizes: these figures show that the benchmarks work, and nothing else", flush=True)
    sections: dict[str, Section] = {}
    code = 0
    try:
        for name in options.names or NAMES:
            try:
                began_s = time.monotonic()
                sections[name] = uvloop.run(_guarded(name, effort))
            except BreakwaterError as error:
                code = _FAILED
                print(f"\n== {name}: not measured: {error}", flush=True)
            else:
                print(f"\n{section_text(name, sections[name])}", flush=True)
                if sections[name].faults:
                    code = _FAILED
                print(f"  Took {time.monotonic() - began_s:.0f} s.", flush=True)
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = _INTERRUPTED
    finally:
        if not code:
            shutil.rmtree(effort.folder / "scratch", ignore_errors=True)
    if options.json is not None:
        write_json(options.json, facts, sections)
    return code


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of Breakwater; see README.md.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; none: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--repetitions", type=int, default=3, help="measurements per figure (default 3)")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything work?")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "var" / "bench", help="where files are kept")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, was {options.repetitions}")
    return options


async def _guarded(name: str, effort: Effort) -> Section:
    """Run one benchmark; SIGTERM and ctrl-C cancel it, so that its processes are ended."""
    measure: Callable[[Effort], Awaitable[Section]] = importlib.import_module(f"bench.{name}").measure
    task = asyncio.ensure_future(measure(effort))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())
