"""Runs chaos: `python -m tests.e2e.chaos --seeds 200` or `make chaos SEEDS=200`; exit code 1 if an invariant broke.

A seed fixes the recording, the configuration, the number of processes, the faults of the exchange and what is done to
which process when; `--seed N` runs one again and keeps its folder.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.e2e.chaos.expected import expected_report
from tests.e2e.chaos.invariants import breaches
from tests.e2e.chaos.plan import RECORDINGS, ChaosPlan, plan_of
from tests.e2e.chaos.postgres import binaries
from tests.e2e.chaos.world import Evidence, recording, run


def main() -> int:
    """Run the seeds and print a row for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seed", type=int, help="run this one, and keep its folder")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("var/chaos"), help="folder of the runs; failed ones are kept")
    arguments = parser.parse_args()
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.first, arguments.first + arguments.seeds)
    )
    return asyncio.run(_run_all(list(seeds), arguments.out, arguments.at_once, keep=arguments.seed is not None))


async def _run_all(seeds: list[int], out: Path, at_once: int, *, keep: bool) -> int:
    out.mkdir(parents=True, exist_ok=True)
    total, failed = Totals(), []
    for number in range(RECORDINGS):
        recording(out.resolve(), number)
    slots = asyncio.Semaphore(at_once)
    print(f"{'seed':>5} {'ok':<4}{'secs':>6} {'orders':>7} {'fills':>6} {'deeds':>6} {'faults':>7}  what", flush=True)

    async def one(seed: int) -> None:
        async with slots:
            plan = plan_of(seed, postgres=binaries() is not None)
            folder = (out / f"seed-{seed}").resolve()
            faults: list[str] = []
            evidence = None
            try:
                evidence = await run(plan, folder, out.resolve())
                expected = await asyncio.to_thread(expected_report, plan, out.resolve()) if plan.is_neutral else None
                faults = breaches(evidence, expected)
            except Exception:  # noqa: BLE001  # whatever ended the run is its result
                faults = [traceback.format_exc()]
            print(_row(plan, evidence, faults), flush=True)
            with (out / "results.jsonl").open("a", encoding="utf-8") as results:
                results.write(_record(plan, evidence, faults))
            if faults:
                failed.append(seed)
                print("\n".join(f"      {fault}" for fault in faults[:10]), flush=True)
            elif not keep:
                shutil.rmtree(folder, ignore_errors=True)
            if evidence is not None:
                total.add(evidence)

    await asyncio.gather(*(one(seed) for seed in seeds))
    print(total.text(len(seeds), failed))
    return 1 if failed else 0


class Totals:
    """Sums over all runs."""

    def __init__(self) -> None:
        self.deeds: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.orders = self.fills = 0
        self.seconds: list[float] = []

    def add(self, evidence: Evidence) -> None:
        self.deeds += evidence.deeds
        self.injected += Counter(evidence.injected)
        self.orders += len(evidence.report["orders"])
        self.fills += len(evidence.report["fills"])
        self.seconds.append(evidence.seconds)

    def text(self, seeds: int, failed: list[int]) -> str:
        lines = [
            "",
            f"{seeds} seeds, {len(failed)} with a broken invariant{f': {failed}' if failed else ''}",
            f"{self.orders} orders, {self.fills} fills; {self.deeds.total()} deeds, {self.injected.total()} faults",
            "deeds:  " + ", ".join(f"{name} {count}" for name, count in sorted(self.deeds.items())),
            "faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.injected.items())),
        ]
        if self.seconds:
            lines.append(f"median {statistics.median(self.seconds):.1f} s a run, longest {max(self.seconds):.1f} s")
        return "\n".join(lines)


def _row(plan: ChaosPlan, evidence: Evidence | None, faults: list[str]) -> str:
    what = f"{plan.filter}, {plan.executors} executors, {plan.signals} signals, {plan.database}"
    what += "" if plan.is_neutral else ", liquidity faults"
    if evidence is None:
        return f"{plan.seed:>5} {'NO':<4}{'':>6} {'':>7} {'':>6} {'':>6} {'':>7}  {what}"
    return (
        f"{plan.seed:>5} {'NO' if faults else 'yes':<4}{evidence.seconds:>6.1f} {len(evidence.report['orders']):>7} "
        f"{len(evidence.report['fills']):>6} {evidence.deeds.total():>6} {sum(evidence.injected.values()):>7}  {what}"
    )


def _record(plan: ChaosPlan, evidence: Evidence | None, faults: list[str]) -> str:
    values = {"plan": asdict(plan), "breaches": faults}
    if evidence is not None:
        values |= {
            "seconds": round(evidence.seconds, 2),
            "orders": len(evidence.report["orders"]),
            "fills": len(evidence.report["fills"]),
            "deeds": dict(evidence.deeds),
            "injected": evidence.injected,
        }
    return json.dumps(values) + "\n"


if __name__ == "__main__":
    sys.exit(main())
