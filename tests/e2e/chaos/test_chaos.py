"""A few seeds of chaos, and the proof that the checks see what they are there for. `make chaos SEEDS=200` runs more."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chaos.expected import expected_report
from tests.e2e.chaos.invariants import breaches
from tests.e2e.chaos.plan import plan_of
from tests.e2e.chaos.postgres import binaries
from tests.e2e.chaos.world import Evidence, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SEEDS = (2, 3, 5)
"""One with liquidity faults (3), with one and with two signals, on both databases."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_invariant_breaks_whatever_dies(seed: int, folder: Path) -> None:
    plan = plan_of(seed, postgres=binaries() is not None)
    evidence = await run(plan, folder / f"seed-{seed}", folder)
    expected = await asyncio.to_thread(expected_report, plan, folder) if plan.is_neutral else None
    assert breaches(evidence, expected) == []
    assert evidence.deeds.total() == len(plan.actions)
    assert sum(evidence.injected.values()) > 0
    if seed == SEEDS[0]:
        assert_each_check_sees_its_breach(evidence, expected)


def assert_each_check_sees_its_breach(evidence: Evidence, expected: dict[str, Any] | None) -> None:
    """Forge the evidence of a good run in one way after the other."""
    books = evidence.books["accounts"]["main"]
    report = evidence.report
    last = report["fills"][-1]
    forged: dict[str, Evidence] = {
        "one_chain_per_intent": replace(evidence, intents=evidence.intents[1:]),
        "every_intent_ends": replace(evidence, order_events=[]),
        "ledger_is_the_exchanges": replace(
            evidence, report=report | {"fills": [*report["fills"][:-1], last | {"fee": last["fee"] + "1"}]}
        ),
        "told_once": replace(evidence, told=evidence.told + Counter([last["exec_id"]])),
        "flat_at_the_days_end": replace(
            evidence,
            books=evidence.books | {"accounts": {"main": books | {"executions": books["executions"][:-1]}}},
            alerts=[],
        ),
        "within_the_limits": replace(evidence, books=evidence.books | {"address_limit_breaches": 1}),
        "nothing_was_put_aside": replace(evidence, dead_letters=["dead.FILL.reporter"]),
        "nobody_needed_more_rights": replace(evidence, denied=('{"event": "bus_permission_denied"}',)),
        "equals_the_backtest": replace(evidence, report=report | {"days": report["days"][:-1]}),
    }
    for name, evidence_of_a_breach in forged.items():
        found = breaches(evidence_of_a_breach, expected)
        assert any(fault.startswith(f"{name}: ") for fault in found), name
