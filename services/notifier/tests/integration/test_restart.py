"""A notifier that dies at any step and is started again tells nothing twice, and loses as little as can be."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from breakwater_runtime.bus import Bus
from notifier_service.claims import Claimed, Claims
from notifier_service.message import Message
from notifier_service.notice import Notice, notice_of
from notifier_service.sink import Lookup, NotPosted, Outcome, Posted, Sink


class Died(Exception):
    """Stands for the end of the process: nothing is done after it."""


class DyingClaims(Claims):
    """Claims of a process that dies at one step."""

    def __init__(self, bus: Bus, step: str) -> None:
        super().__init__(bus)
        self.step = step

    def _die_at(self, step: str) -> None:
        if self.step == step:
            raise Died(step)

    async def claim(self, notices: Sequence[Notice], message_id: str) -> Claimed:
        self._die_at("before the claim")
        claimed = await super().claim(notices, message_id)
        self._die_at("after the claim")
        return claimed

    async def begin(self, message_id: str) -> bool:
        begun = await super().begin(message_id)
        self._die_at("before the post")
        return begun

    async def finish(self, message_id: str) -> None:
        self._die_at("after the post")
        await super().finish(message_id)
        self._die_at("before the acknowledgement")


STEPS = {
    "before the claim": (1, 1),
    "after the claim": (1, 1),
    "before the post": (0, 1),
    "after the post": (1, 2),
    "before the acknowledgement": (1, 1),
}
"""For each step at which the first process dies: how often a fill, and how often a critical alert, is seen then."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["fill", "alert"])
async def test_a_death_at_any_step_tells_a_fill_at_most_once_and_a_critical_alert_at_least_once(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any, step: str, kind: str
) -> None:
    stream, durable = ("FILL", "notifier-fill") if kind == "fill" else ("ALERT", "notifier-alert-critical")
    await bus.publish(getattr(events, kind)())
    with pytest.raises(RuntimeError, match="the notifier failed"):
        async with notifiers.run(claims=DyingClaims(bus, step)) as running:
            await asyncio.wait({running.task}, timeout=20)
    async with notifiers.run():
        await settled(stream, durable)
    async with notifiers.run():
        await settled(stream, durable)
    assert len(slack.channel) == STEPS[step][0 if kind == "fill" else 1]


@pytest.mark.parametrize("step", STEPS)
async def test_a_death_in_a_storm_counts_no_fill_twice(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any, step: str
) -> None:
    await bus.publish_all(events.fill(number) for number in range(60))
    with pytest.raises(RuntimeError, match="the notifier failed"):
        async with notifiers.run(claims=DyingClaims(bus, step)) as running:
            await asyncio.wait({running.task}, timeout=20)
    async with notifiers.run():
        await settled("FILL", "notifier-fill")
    told = sum(1 if text.startswith("Fill: ") else int(text.split(" ")[0]) for text in slack.texts)
    assert told < 60 if step == "before the post" else told == 60


async def test_a_restart_after_everything_was_told_tells_nothing(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await bus.publish_all([events.fill(), events.order(), events.performance(), events.alert()])
    async with notifiers.run():
        await slack.until(lambda: len(slack.channel) == 4)
        for stream, durable in (("FILL", "fill"), ("ORDER", "order"), ("ALERT", "alert-critical")):
            await settled(stream, f"notifier-{durable}")
    for consumer in ("FILL.notifier-fill", "ORDER.notifier-order", "PERFORMANCE.notifier-performance"):
        await bus.api(f"CONSUMER.DELETE.{consumer}")  # every message will be delivered anew
    async with notifiers.run():
        await settled("FILL", "notifier-fill")
        await settled("ORDER", "notifier-order")
        await settled("PERFORMANCE", "notifier-performance")
    assert len(slack.channel) == 4


class RefusingSink:
    """A sink that is away until it is told otherwise."""

    def __init__(self, inner: Sink) -> None:
        self.inner = inner
        self.tried = asyncio.Event()

    async def check(self) -> Posted | NotPosted:
        return NotPosted("away")

    async def post(self, message: Message, message_id: str) -> Outcome:
        self.tried.set()
        return NotPosted("away")

    async def find(self, message_id: str) -> Lookup:
        return Lookup.AWAY


async def test_what_could_not_be_posted_before_a_restart_is_posted_after_it(
    notifiers: Any, bus: Bus, slack: Any, events: Any
) -> None:
    await bus.publish(events.fill())
    sinks: list[RefusingSink] = []

    def refusing(inner: Sink) -> Sink:
        sinks.append(RefusingSink(inner))
        return sinks[0]

    async with notifiers.run(wrap=refusing):
        await asyncio.wait_for(sinks[0].tried.wait(), 20)
    async with notifiers.run():
        await slack.until(lambda: len(slack.channel) == 1)


async def test_a_bus_that_goes_away_while_slack_has_a_message_doubles_and_loses_nothing(
    notifiers: Any, nats_server: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    slack.faults = ["held"]
    await bus.publish(events.fill(1))
    async with notifiers.run():
        await slack.until(lambda: len(slack.channel) == 1)
        await bus.publish_all([events.fill(2), events.fill(3)])
        nats_server.kill()
        slack.release.set()
        nats_server.start()
        await slack.until(lambda: len(slack.channel) == 3)
        await settled("FILL", "notifier-fill")
    assert len(slack.channel) == 3


async def test_two_notifiers_at_once_tell_each_event_once(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    async with notifiers.run(group_after=1000), notifiers.run(group_after=1000):
        await bus.publish_all(events.fill(number) for number in range(40))
        await settled("FILL", "notifier-fill")
    assert len(slack.channel) == 40
    ids = {message["metadata"]["event_payload"]["message_id"] for message in slack.channel}
    assert len(ids) == 40


async def test_of_two_claims_of_one_event_one_wins_until_it_is_given_up(bus: Bus, events: Any) -> None:
    notice = notice_of(events.fill(), "live")
    assert notice is not None
    first, second = Claims(bus), Claims(bus)
    assert (await first.claim([notice], "a")).ours == (notice,)
    assert (await second.claim([notice], "b")).ours == (notice,), "the first had not begun, so the second took it over"
    assert not await first.begin("a")
    assert await second.begin("b")
    assert (await first.claim([notice], "c")).unknown == (notice,)
    await second.fail("b")
    assert (await first.claim([notice], "d")).ours == (notice,)
    assert not await second.begin("b")
    assert await first.begin("d")
    await first.finish("d")
    assert (await second.claim([notice], "e")).told == (notice,)


async def test_claims_are_dropped_after_seven_days(bus: Bus) -> None:
    config = (await bus.api("STREAM.INFO.KV_notified"))["config"]
    assert config["max_age"] == 7 * 86_400 * 10**9
