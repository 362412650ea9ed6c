"""`breakwater config apply`, `list`, `show` on a real bus: what is scheduled, what is refused, and who comes first."""

import asyncio
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from breakwater_cli.bus_address import BusAddress
from breakwater_cli.config_versions import ApplyRequest, apply, list_versions, show
from breakwater_cli.control import UNCONFIRMED, Answer
from breakwater_cli.nats_process import NatsProcess
from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import ConfigVersion, DayVersion, SeenSchedule
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.market import Clock, ClockKind
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus
from breakwater_runtime.config_file import write_config
from breakwater_runtime.config_versions import ConfigStore, ScheduleChanged

DAY = date(2024, 1, 6)
DAY_START_MS = 1_704_499_200_000
BASE: dict[str, Any] = {"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}}
RUN_ID = "test-run"


def changed(**sections: dict[str, Any]) -> BreakwaterConfig:
    values = {**BASE}
    for name, keys in sections.items():
        values[name] = {**BASE.get(name, {}), **keys}
    return BreakwaterConfig.parse(values)


Apply = Callable[..., Any]


@pytest.fixture
async def running(bus: Bus) -> ConfigVersion:
    """A day that runs under a configuration, by the bus's clock."""
    version = ConfigVersion.of(BreakwaterConfig.parse(BASE))
    store = ConfigStore(bus)
    await store.keep(version)
    await store.fix_day(DayVersion(DAY, version.version, 0))
    await bus.publish(Clock(ClockKind.ADVANCED, DAY_START_MS + 3_600_000, 0, DAY))
    return version


@pytest.fixture
def address(nats_server: NatsProcess) -> BusAddress:
    return BusAddress(nats_server.url)


@pytest.fixture
def apply_config(address: BusAddress, tmp_path: Path) -> Apply:
    async def do(config: BreakwaterConfig, **options: Any) -> Answer:
        path = tmp_path / f"{config.version}.json"
        write_config(config, path)
        return await apply(address, ApplyRequest(path=path, run_id=RUN_ID, **{"wait_s": 0, **options}))

    return do


async def stated_by(bus: Bus, instance: str, revision: int) -> None:
    """Stand for a live signal that has seen a revision."""
    checkpoint = json.dumps({"strategy": {"symbols": {}}}).encode()
    await bus.write(subjects.CHECKPOINT_BUCKET, subjects.signal_state_key(RUN_ID, instance), checkpoint)
    await ConfigStore(bus).say_seen(SeenSchedule(instance, DAY, "old", revision, ((DAY, "x"),)))


async def test_a_version_is_kept_under_its_hash_and_takes_effect_on_the_day_that_has_not_begun(
    bus: Bus, running: ConfigVersion, apply_config: Apply, address: BusAddress
) -> None:
    wanted = changed(strategy={"k_long": 0.7}, costs={"taker_fee": "0.001"})
    answer = await apply_config(wanted, reason="walk-forward of May")
    tomorrow = DAY + timedelta(days=1)
    assert (answer.values["version"], answer.values["day"]) == (wanted.version, tomorrow.isoformat())
    text = "\n".join(answer.lines)
    assert "strategy.k_long: 0.5 -> 0.7" in text
    assert "it charges them once it is started again" in text
    assert "no signal is alive" in text
    kept = await ConfigStore(bus).version(wanted.version)
    assert kept is not None
    assert kept.config == wanted
    listed = await list_versions(address, RUN_ID)
    assert [(one["version"], one["state"], one["reason"]) for one in listed.values["entries"]] == [
        (wanted.version, "scheduled", "walk-forward of May")
    ]
    shown = (await show(address, None, RUN_ID)).values
    assert shown["active"] == {"day": DAY.isoformat(), "version": running.version}
    assert [one["day"] for one in shown["scheduled"]] == [tomorrow.isoformat()]
    assert (await show(address, wanted.version[:6], RUN_ID)).values["config"] == wanted.as_values()


async def test_applied_again_nothing_is_changed_and_another_for_the_same_day_takes_its_place(
    bus: Bus, running: ConfigVersion, apply_config: Apply
) -> None:
    first, second = changed(strategy={"k_long": 0.7}), changed(strategy={"k_long": 0.8})
    await apply_config(first)
    revision = (await ConfigStore(bus).schedule()).revision
    assert (await apply_config(first)).values["changed"] is False
    assert (await ConfigStore(bus).schedule()).revision == revision
    answer = await apply_config(second)
    assert f"in place of {first.version}" in "\n".join(answer.lines)
    assert [entry.version for entry in (await ConfigStore(bus).schedule()).schedule.entries] == [second.version]


async def test_a_day_whose_exit_window_has_opened_is_followed_by_one_that_is_fixed_already(
    bus: Bus, running: ConfigVersion, apply_config: Apply
) -> None:
    tomorrow = DAY + timedelta(days=1)
    await ConfigStore(bus).fix_day(DayVersion(tomorrow, running.version, 0))
    answer = await apply_config(changed(strategy={"k_long": 0.7}))
    assert answer.values["day"] == (DAY + timedelta(days=2)).isoformat()
    with pytest.raises(InvalidInputError, match=f"the earliest is {DAY + timedelta(days=2)}"):
        await apply_config(changed(strategy={"k_long": 0.8}), effective=tomorrow.isoformat())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"session": {"start": "09:00"}}, r"session.start is 00:00:00 and would be 09:00:00.*stop all services"),
        ({"session": {"timezone": "Asia/Seoul"}}, "session.timezone is UTC"),
        ({"portfolio": {"accounts": ["main", "second"]}}, "portfolio.accounts is main"),
        ({"portfolio": {"symbols": []}}, "portfolio.symbols is empty"),
    ],
)
async def test_what_the_running_system_cannot_turn_to_is_refused_and_changes_nothing(
    bus: Bus, running: ConfigVersion, apply_config: Apply, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await apply_config(changed(**sections))
    assert (await ConfigStore(bus).schedule()).revision == 0


@pytest.mark.parametrize(("effective", "message"), [("2024-01-06", "has begun"), ("soon", "takes next-day or a day")])
async def test_a_day_that_has_begun_or_is_none_is_refused(
    bus: Bus, running: ConfigVersion, apply_config: Apply, effective: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await apply_config(changed(strategy={"k_long": 0.7}), effective=effective)
    assert (await ConfigStore(bus).schedule()).revision == 0


async def test_a_symbol_whose_position_has_outlived_its_day_cannot_be_taken_out(
    bus: Bus, running: ConfigVersion, apply_config: Apply
) -> None:
    async def holds(day: date, phase: str) -> None:
        symbols = {"ETHUSDT": {"holding": {"day": day.isoformat(), "phase": phase}}, "BTCUSDT": {"holding": None}}
        checkpoint = json.dumps({"strategy": {"symbols": symbols}}).encode()
        await bus.write(subjects.CHECKPOINT_BUCKET, subjects.signal_state_key(RUN_ID, "a"), checkpoint)

    narrow = changed(portfolio={"symbols": ["BTCUSDT"]})
    await holds(DAY - timedelta(days=1), "exiting")
    with pytest.raises(InvalidInputError, match=r"ETHUSDT is taken out while its position of 2024-01-05 is still open"):
        await apply_config(narrow)
    assert (await apply_config(changed(strategy={"k_long": 0.7}))).values["changed"]
    await holds(DAY, "open")  # is exited at the end of its day, before the version begins
    answer = await apply_config(narrow)
    assert "positions in ETHUSDT are exited at the end of the day before" in "\n".join(answer.lines)


async def test_of_two_that_are_applied_at_once_one_is_refused_and_the_schedule_holds_the_other_whole(
    bus: Bus, running: ConfigVersion, apply_config: Apply
) -> None:
    wanted = [changed(strategy={"k_long": number / 10}) for number in range(1, 7)]
    outcomes = await asyncio.gather(*map(apply_config, wanted), return_exceptions=True)
    won = [outcome.values["version"] for outcome in outcomes if isinstance(outcome, Answer)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, ScheduleChanged)]
    assert len(won) + len(lost) == len(wanted)
    (entry,) = (await ConfigStore(bus).schedule()).schedule.entries
    assert entry.version in won


async def test_a_schedule_that_was_read_before_another_apply_cannot_be_written_over_it(
    bus: Bus, running: ConfigVersion, apply_config: Apply
) -> None:
    store = ConfigStore(bus)
    before = await store.schedule()
    answer = await apply_config(changed(strategy={"k_long": 0.7}))
    with pytest.raises(ScheduleChanged, match="somebody else has applied"):
        await store.replace_schedule(before.schedule, last=before.revision)
    assert (await store.schedule()).schedule.entries[0].version == answer.values["version"]


async def test_the_answer_tells_what_each_live_signal_has_said_and_who_is_silent(
    bus: Bus, running: ConfigVersion, apply_config: Apply
) -> None:
    await stated_by(bus, "a", revision=10**9)
    await stated_by(bus, "b", revision=0)
    answer = await apply_config(changed(strategy={"k_long": 0.7}))
    assert [one["instance"] for one in answer.values["acknowledged"]] == ["a"]
    assert answer.values["unacknowledged"] == ["b"]
    assert answer.exit_code == UNCONFIRMED


async def test_a_kept_version_is_never_changed_and_a_forged_one_is_not_believed(
    bus: Bus, running: ConfigVersion
) -> None:
    store = ConfigStore(bus)
    forged = ConfigVersion(running.version, changed(strategy={"k_long": 0.7}))
    await store.keep(forged)  # somebody else was first
    assert await store.version(running.version) == running
    await bus.write(subjects.CONFIG_BUCKET, subjects.config_version_key(running.version), forged.encode())
    with pytest.raises(InvariantError, match="is not what its hash says"):
        await store.version(running.version)


async def test_a_version_that_nobody_kept_is_named_with_those_that_are(
    bus: Bus, running: ConfigVersion, address: BusAddress
) -> None:
    with pytest.raises(InvalidInputError, match=running.version):
        await show(address, "zzz", RUN_ID)
