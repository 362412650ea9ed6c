"""`breakwater dead` against a real NATS server, with consumers that put messages aside."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from breakwater_cli.app import app
from breakwater_cli.nats_process import NatsProcess
from breakwater_core.errors import InvalidInputError, PermanentError
from breakwater_core.events import Alert, Severity
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.dead_letters import list_letters
from breakwater_runtime.readers import read_stream

RUNNER = CliRunner()


def alert(number: int) -> Alert:
    return Alert(f"a-{number}", "test-run", Severity.INFO, "test", "news", f"number {number}", number)


class Taker:
    """A durable consumer that refuses everything until it is mended."""

    def __init__(self, bus: Bus, durable: str, *, broken: bool) -> None:
        self.taken: list[str] = []
        self.broken = broken
        self.stop = asyncio.Event()
        specification = ConsumerSpecification(stream="ALERT", durable=durable, filters=("alert.info.>",))
        self.consumer = PullConsumer(bus, specification, self._handle, service="test")

    async def _handle(self, received: Received) -> None:
        if self.broken:
            raise PermanentError("the cause that a person mends")
        self.taken.append(received.event.alert_id)

    async def until(self, number: int) -> None:
        async with asyncio.timeout(90):
            while len(self.taken) < number:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def taking(bus: Bus, durable: str, *, broken: bool = False) -> AsyncIterator[Taker]:
    taker = Taker(bus, durable, broken=broken)
    task = asyncio.create_task(taker.consumer.run(taker.stop))
    try:
        yield taker
    finally:
        taker.stop.set()
        await task


async def letters(bus: Bus, number: int) -> None:
    async with asyncio.timeout(90):
        while len(await list_letters(bus)) < number:
            await asyncio.sleep(0.01)


@pytest.fixture
def command(nats_server: NatsProcess) -> Any:
    async def run(*arguments: str) -> Result:
        given = ["dead", *arguments, "--nats", nats_server.url]
        return await asyncio.to_thread(RUNNER.invoke, app, given, catch_exceptions=False)

    return run


@pytest.fixture(autouse=True)
def _without_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs in a thread of the test, where no signal handler can be set."""
    monkeypatch.setattr("breakwater_cli.dead.run_async", lambda work: asyncio.run(work()))


async def test_a_letter_goes_back_to_the_consumer_that_put_it_aside_and_to_no_other(bus: Bus, command: Any) -> None:
    read: list[str] = []

    def handle(delivery: Any) -> None:
        read.append(codec.decode(delivery.subject, delivery.payload).value.alert_id)

    reading = read_stream(bus, name="reader", stream="ALERT", filters=["alert.info.>"], start=1, handle=handle)
    async with taking(bus, "first", broken=True) as first, taking(bus, "second") as second, reading:
        await bus.publish_all([alert(1), alert(2)])
        await letters(bus, 2)
        await second.until(2)
        shown = json.loads((await command("list", "--json")).stdout)
        assert [(row["consumer"], row["subject"], row["reason"]) for row in shown] == [
            ("first", "alert.info.test", "the cause that a person mends")
        ] * 2
        assert "number 1" in (await command("show", str(shown[0]["id"]))).stdout
        first.broken = False
        played = await command("replay", "--all", "--json")
        assert json.loads(played.stdout) == [{"id": row["id"], "done": True, "fault": None} for row in shown]
        await first.until(2)
        await bus.publish(alert(3))
        await first.until(3)
        await second.until(3)
        assert first.taken == second.taken == ["a-1", "a-2", "a-3"]
        async with asyncio.timeout(90):
            while len(read) < 3:
                await asyncio.sleep(0.01)
    assert read == ["a-1", "a-2", "a-3"]
    assert (await command("list")).stdout == "no dead letters\n"


async def test_a_letter_that_fails_again_is_a_letter_again(bus: Bus, command: Any) -> None:
    async with taking(bus, "first", broken=True):
        await bus.publish(alert(1))
        await letters(bus, 1)
        [before] = await list_letters(bus)
        await command("replay", str(before.number))
        await letters(bus, 1)
        [after] = await list_letters(bus)
    assert after.number > before.number
    assert after.payload == before.payload


async def test_one_message_buried_twice_by_a_consumer_is_one_letter_and_goes_with_it(bus: Bus, command: Any) -> None:
    payload = codec.encode(alert(1), "test-run").payload
    for consumer in ("first", "first", "second"):
        await bus.jetstream.publish(  # without a message id, as after the time in which the bus knows repeats
            f"dead.ALERT.{consumer}",
            payload,
            headers={"Breakwater-Subject": "alert.info.test", "Breakwater-Sequence": "7"},
        )
    assert [(letter.number, letter.consumer) for letter in await list_letters(bus)] == [(1, "first"), (3, "second")]
    dropped = await command("drop", "--id", "1")
    assert dropped.stdout == "1 dropped\n"
    assert [letter.number for letter in await list_letters(bus)] == [3]


async def test_market_data_and_letters_of_a_consumer_that_is_gone_are_kept_with_the_reason(
    bus: Bus, command: Any
) -> None:
    for stream, consumer, subject in (("MD", "signal", "md.clock.bybit"), ("ALERT", "reporter-old", "alert.info.x")):
        await bus.dead_letter(
            stream=stream, consumer=consumer, subject=subject, payload=b"\xff", sequence=1, reason="malformed"
        )
    result = await command("replay", "--all")
    assert result.exit_code == 1
    assert "market data" in result.stdout
    assert "its consumer reporter-old is gone" in result.stdout
    assert len(await list_letters(bus)) == 2
    shown = await command("show", "1", "--json")
    assert json.loads(shown.stdout)["content"] == "base64:/w=="


async def test_what_is_asked_for_wrongly_is_said(bus: Bus, command: Any) -> None:
    with pytest.raises(InvalidInputError, match="no dead letter 9"):
        await command("show", "9")
    with pytest.raises(InvalidInputError, match="or give --all"):
        await command("drop")
