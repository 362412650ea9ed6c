"""Every query and every rule against a real Prometheus that scrapes the running system: nothing is without data."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.deploy.observability import catalogue
from tests.deploy.observability.binaries import prometheus
from tests.deploy.observability.running_system import Observer, live_system, observer, replaying_system

_PATIENCE_S = 75.0

ABSENT_HERE = {
    "breakwater_parity_cost_bps": "no day of a recording made here is compared",
    "breakwater_executor_rejected_total": "the exchange refuses nothing",
    "breakwater_budget_limited_total": "the exchange limits nothing",
    "breakwater_market_data_bar_mismatches_total": "no live day ends here",
    "breakwater_bus_store_limit_bytes": "the server has a limit only if one is configured",
    "breakwater_secret_refreshes_total": "the demo gives its secrets as values",
    "breakwater_secret_last_read_timestamp_seconds": "the demo gives its secrets as values",
}
"""Metrics without series in a healthy demo, with the reason; their panels show 0 by `or vector(0)`."""


async def _until_all_have_data(observed: Observer, wanted: dict[str, catalogue.Query]) -> dict[str, catalogue.Query]:
    """Ask again and again for what has had no data; return what is left when time is up."""
    left = dict(wanted)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while left:
                for key, query in tuple(left.items()):
                    if await observed.values(query.filled_in, instant=query.is_instant):
                        del left[key]
                await asyncio.sleep(1)
    except TimeoutError:
        pass
    return left


OF_A_BUSY_MACHINE = {"BreakwaterEventLoopSlow", "BreakwaterDecisionsSlow", "BreakwaterOrdersSlow"}
"""Alerts that a healthy system may be about to raise where other tests keep the processors busy."""


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_no_panel_and_no_rule_is_without_data_in_the_running_system(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        observed = stack.enter_context(observer(prometheus(), tmp_path / "prometheus"))
        await stack.enter_async_context(replaying_system(tmp_path / "replay", observed))
        await stack.enter_async_context(live_system(tmp_path / "live", observed))
        asked = catalogue.queries() + catalogue.variable_queries()
        wanted = {f"{query.dashboard}, {query.panel}: {query.expression}": query for query in asked}
        for rule in catalogue.rules():
            name = rule.get("alert", rule.get("record"))
            for selector in catalogue.selectors(rule["expr"]):
                if not any(selector.startswith(f"{metric}{{") for metric in ABSENT_HERE):
                    wanted[f"rule {name}: {selector}"] = catalogue.Query("rules", str(name), selector, is_instant=False)
        without_data = await _until_all_have_data(observed, wanted)
        assert not without_data, "\n".join(without_data)

        evaluated = {rule["name"]: rule for group in (await observed.ask("rules"))["groups"] for rule in group["rules"]}
        assert {rule.get("alert", rule.get("record")) for rule in catalogue.rules()} == set(evaluated)
        assert {name: rule.get("lastError") for name, rule in evaluated.items() if rule["health"] != "ok"} == {}
        pending = await observed.ask("alerts")
        names = {alert["labels"]["alertname"] for alert in pending["alerts"]}
        assert names - OF_A_BUSY_MACHINE == set()
