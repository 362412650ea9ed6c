"""An order role while configurations change: limits by the intent's own, symbols prepared before their first day."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_bybit.client import BybitClient
from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import ConfigSchedule, ConfigVersion, DayVersion, ScheduledVersion
from breakwater_core.events import Alert, OrderEvent, OrderStatus
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.config_file import write_config
from breakwater_runtime.config_versions import ConfigStore


def config(symbols: list[str], **risk: Any) -> ConfigVersion:
    return ConfigVersion.of(BreakwaterConfig.parse({"portfolio": {"symbols": symbols}, "risk": risk}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    write_config(config(["BTCUSDT"], max_order_notional="1").config, path)
    return path


async def schedule(bus: Bus, roles: SimpleNamespace, *versions: ConfigVersion) -> None:
    """Schedule versions for the days after the first, which runs under the first of them."""
    store, planned = ConfigStore(bus), ConfigSchedule()
    for number, version in enumerate(versions):
        await store.keep(version)
        day = roles.DAY + timedelta(days=number)
        planned = planned.with_entry(ScheduledVersion(day, version.version, "", 0))
    revision = await store.replace_schedule(planned, last=(await store.schedule()).revision)
    await store.fix_day(DayVersion(roles.DAY, versions[0].version, revision))


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await happened():
            await asyncio.sleep(0.02)


async def listens_to(bus: Bus, symbol: str) -> bool:
    try:
        await bus.api(f"CONSUMER.INFO.INTENT.executor-main={symbol}")
    except BusError:
        return False
    return True


async def test_an_entry_is_held_to_the_limits_of_the_configuration_it_was_decided_under(
    roles: SimpleNamespace, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace, file: Path
) -> None:
    tight = config(["BTCUSDT"], max_order_notional="10")
    loose = config(["BTCUSDT"])
    await schedule(bus, roles, tight, loose)
    async with roles.account(), roles.order(config_file=file):
        await desk.open_day(roles.DAY, 0)
        for number, version in enumerate((tight.version, loose.version, "nobody-kept-this")):
            intent = kit.intent(strategy_version=version, attempt=number + 1)
            await desk.decide(intent)
            await log.until(lambda log, count=number + 1: len(log.of(OrderEvent)) >= count and closed(log) == count)
    ends = [event for event in log.of(OrderEvent) if event.intent_closed]
    assert [event.strategy_version for event in ends] == [tight.version, loose.version, "nobody-kept-this"]
    assert [event.status for event in ends] == [OrderStatus.REFUSED, OrderStatus.FILLED, OrderStatus.REFUSED]
    assert "exceeds 10" in ends[0].detail
    assert "exceeds 1" in ends[2].detail  # the executor's own file


def closed(log: Any) -> int:
    return sum(event.intent_closed for event in log.of(OrderEvent))


async def test_a_symbol_that_a_scheduled_configuration_adds_is_set_up_and_listened_to_at_once(
    roles: SimpleNamespace, exchange: Any, bus: Bus, file: Path
) -> None:
    async with roles.order(config_file=file, margin_leverage=Decimal(7)):
        await until(lambda: listens_to(bus, "BTCUSDT"))
        assert not await listens_to(bus, "ETHUSDT")
        await schedule(bus, roles, config(["BTCUSDT"]), config(["BTCUSDT", "ETHUSDT"]))
        await until(lambda: listens_to(bus, "ETHUSDT"))
    async with BybitClient(exchange.rest_url, api_key="test-key", api_secret="test-secret") as client:
        assert (await client.position("ETHUSDT")).leverage == 7


async def test_a_symbol_that_cannot_be_traded_is_told_and_keeps_no_other_from_being_traded(
    roles: SimpleNamespace, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace, file: Path
) -> None:
    wide = config(["BTCUSDT", "NOSUCHUSDT"])
    await schedule(bus, roles, config(["BTCUSDT"]), wide)
    async with roles.account(), roles.order(config_file=file):
        await log.until(lambda log: any(alert.name == "symbols_not_prepared" for alert in log.of(Alert)))
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent(strategy_version=wide.version))
        await log.until(lambda log: closed(log) == 1)
    assert [event.status for event in log.of(OrderEvent) if event.intent_closed] == [OrderStatus.FILLED]
