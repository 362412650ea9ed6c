"""The control document on a real bus: compare-and-set, following it, and reading the acknowledgements."""

import asyncio
import signal

import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.control import Control
from breakwater_core.control_answers import Acknowledgement
from breakwater_core.errors import InvariantError
from breakwater_runtime.bus import PUBLISH_TIMEOUT_S, Bus, BusError
from breakwater_runtime.control import (
    ControlStore,
    ControlWatch,
    read_acknowledgements,
    watch_acknowledgements,
    watch_control,
)
from breakwater_runtime.subjects import CONTROL_BUCKET, CONTROL_KEY, flat_key, seen_key


async def until_epoch(watch: ControlWatch, epoch: int) -> None:
    async with asyncio.timeout(90):
        while watch.state.epoch < epoch:
            await watch.wait_for_change(watch.state, 10)


async def test_changes_made_at_once_all_count(bus: Bus) -> None:
    stores = [ControlStore(bus) for _ in range(8)]
    await asyncio.gather(*(store.change(lambda control: control.halt()) for store in stores))
    stored = await ControlStore(bus).read()
    assert stored.control.epoch == 8
    assert stored.stored_ms > 0


async def test_a_follower_knows_the_state_at_once_and_hears_of_every_change(bus: Bus) -> None:
    store = ControlStore(bus)
    await store.change(lambda control: control.halt("main"))
    async with watch_control(bus, name="test") as watch:
        assert watch.state.is_halted("main")
        await store.change(lambda control: control.resume("main").halt())
        await until_epoch(watch, 2)
        assert not watch.state.accounts["main"].halted


async def test_a_follower_that_starts_while_the_bus_is_too_busy_to_answer_waits_for_it(
    bus: Bus, nats_server: NatsProcess
) -> None:
    await ControlStore(bus).change(lambda control: control.halt())
    assert nats_server.process is not None
    nats_server.process.send_signal(signal.SIGSTOP)
    asyncio.get_running_loop().call_later(PUBLISH_TIMEOUT_S + 0.5, nats_server.process.send_signal, signal.SIGCONT)
    async with watch_control(bus, name="test") as watch:
        assert watch.state.is_halted("main")


async def test_an_older_value_changes_nothing(bus: Bus) -> None:
    watch = ControlWatch()
    watch.take(Control().halt().encode(), revision=2)
    watch.take(Control().encode(), revision=1)
    assert watch.state.epoch == 1


async def test_an_unreadable_document_halts_its_followers_and_is_never_overwritten(bus: Bus) -> None:
    await bus.write(CONTROL_BUCKET, CONTROL_KEY, b"halt!")
    async with watch_control(bus, name="test") as watch:
        assert watch.state.is_halted("main")
    with pytest.raises(InvariantError, match="cannot be read"):
        await ControlStore(bus).change(lambda control: control.resume())


async def test_without_a_bus_nobody_can_tell(bus: Bus, nats_server: NatsProcess) -> None:
    nats_server.kill()
    with pytest.raises(BusError):
        await ControlStore(bus).read()


async def test_acknowledgements_are_known_until_they_are_taken_back(bus: Bus) -> None:
    acknowledgement = Acknowledgement("a", "p", "live", 3, ("main",))
    await bus.write(CONTROL_BUCKET, seen_key("a", "p"), acknowledgement.encode())
    async with watch_acknowledgements(bus, name="test") as watch, asyncio.timeout(90):
        while not watch.heard:
            await asyncio.sleep(0.01)
        (heard,) = await read_acknowledgements(bus)
        assert heard.acknowledgement == acknowledgement
        assert watch.heard == (heard,)
        await (await bus.bucket(CONTROL_BUCKET)).delete(seen_key("a", "p"))
        while watch.heard:
            await asyncio.sleep(0.01)
        assert await read_acknowledgements(bus) == ()


def test_proofs_of_a_replay_do_not_stand_for_live() -> None:
    assert flat_key("live", "main", 7) == "flat.main.7"
    assert flat_key("replay-1", "main", 7) == "flat.main.7.replay-1"
