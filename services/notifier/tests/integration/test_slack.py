"""The notifier against a real NATS server and a stand-in of Slack that answers over real HTTP."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_core.events import OrderStatus, Severity
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.settings import ServiceSettings
from notifier_service.dispatcher import CONDITION


def count_of(noun: str, texts: list[str]) -> int:
    """How many fills or orders the messages tell of, alone or in summaries."""
    alone = sum(text.startswith({"fill": "Fill: ", "order": "Order "}[noun]) for text in texts)
    return alone + sum(int(number) for text in texts for number in re.findall(rf"(\d+) {noun}s?\b(?! of)", text))


async def test_each_kind_of_event_becomes_one_valid_message(
    notifiers: Any, bus: Bus, slack: Any, events: Any, find_block_faults: Callable[[dict[str, Any]], list[str]]
) -> None:
    await bus.publish_all([events.fill(), events.order(), events.alert(), events.performance()])
    await bus.publish(events.order(2, status=OrderStatus.SUBMITTED))
    async with notifiers.run() as running:
        await slack.until(lambda: len(slack.channel) == 4)
        await running.until(lambda: running.health.ready)
    assert sorted(text.split(":")[0].split(" ")[0] for text in slack.texts) == [
        "CRITICAL",
        "Fill",
        "Order",
        "Performance",
    ]
    assert [find_block_faults(message) for message in slack.channel] == [[]] * 4
    assert all(message["blocks"] for message in slack.channel)


async def test_a_storm_of_fills_is_told_in_few_messages_that_count_each_fill_once(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await bus.publish_all(events.fill(number, symbol=f"COIN{number % 7}USDT") for number in range(500))
    async with notifiers.run(message_interval_s=0.05):
        await slack.until(lambda: count_of("fill", slack.texts) >= 500)
        await settled("FILL", "notifier-fill")
    assert count_of("fill", slack.texts) == 500
    assert len(slack.channel) <= 6


async def test_a_critical_alert_overtakes_a_storm_and_stays_alone(
    notifiers: Any, bus: Bus, slack: Any, events: Any
) -> None:
    slack.faults = ["held"]
    await bus.publish(events.fill(0))
    async with notifiers.run() as running:
        await slack.until(lambda: len(slack.channel) == 1)  # Slack takes its time with one fill; the others wait
        await bus.publish_all(events.fill(number) for number in range(1, 100))
        await running.holds("FILL", "notifier-fill", 100)
        await bus.publish_all(events.alert(number) for number in range(8))
        await running.holds("ALERT", "notifier-alert-critical", 8)
        slack.release.set()
        await slack.until(lambda: count_of("fill", slack.texts) == 100)
    kinds = ["alert" if text.startswith("CRITICAL") else "fill" for text in slack.texts]
    assert kinds[:9] == ["fill"] + ["alert"] * 8
    assert kinds.count("alert") == 8


async def test_slacks_request_to_wait_is_honoured(virtual_notifiers: Any, bus: Bus, slack: Any, events: Any) -> None:
    slack.faults = [(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "47"})]
    await bus.publish(events.fill())
    async with virtual_notifiers.run() as running:
        await slack.until(lambda: len(slack.channel) == 1)
        await running.until(lambda: running.health.ready)
    first, second = slack.attempts
    assert second - first >= 47
    assert len(slack.channel) == 1


async def test_messages_keep_the_least_interval_between_them(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any
) -> None:
    await bus.publish_all(events.alert(number) for number in range(5))
    async with virtual_notifiers.run(message_interval_s=1.0):
        await slack.until(lambda: len(slack.channel) == 5)
    assert all(later - earlier >= 1.0 for earlier, later in zip(slack.attempts, slack.attempts[1:], strict=False))


async def test_a_failing_server_is_tried_again_at_growing_intervals_until_it_takes_the_message(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any
) -> None:
    slack.faults = [(503, {"ok": False, "error": "service_unavailable"}, {})] * 4
    await bus.publish(events.fill())
    async with virtual_notifiers.run(retry_max_s=5.0) as running:
        await slack.until(lambda: len(slack.channel) == 1)
        assert len(slack.attempts) == 5
        pauses = [later - earlier for earlier, later in zip(slack.attempts, slack.attempts[1:], strict=False)]
        assert pauses == pytest.approx([1, 2, 4, 5])
        await running.until(lambda: running.health.ready)


async def test_nothing_is_lost_while_slack_is_away_and_what_gathered_is_told_together(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await slack.stop()
    async with virtual_notifiers.run(max_held=50) as running:
        await bus.publish_all(events.fill(number) for number in range(300))
        await running.until(lambda: "cannot be reached" in running.health.faults.get(CONDITION, ""))
        await slack.start()
        await slack.until(lambda: count_of("fill", slack.texts) >= 300)
        await settled("FILL", "notifier-fill")
        await running.until(lambda: running.health.ready)
    assert count_of("fill", slack.texts) == 300
    assert len(slack.channel) <= 20


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"slack_token": SecretStr("xoxb-canary")}, "invalid_auth: Slack refused the token; set NOTIFIER_SLACK_TOKEN"),
        (
            {"slack_channel": "#nowhere"},
            "channel_not_found: Slack knows no such channel; correct NOTIFIER_SLACK_CHANNEL",
        ),
    ],
)
async def test_a_wrong_token_or_channel_makes_it_unready_with_the_reason_and_keeps_the_events(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any, values: dict[str, Any], reason: str
) -> None:
    await bus.publish(events.fill())
    async with virtual_notifiers.run(**values) as running:
        await slack.until(lambda: len(slack.attempts) >= 3)
        assert running.health.faults[CONDITION].startswith(reason)
        assert "canary" not in running.health.faults[CONDITION]
    assert slack.channel == []
    async with virtual_notifiers.run():
        await slack.until(lambda: len(slack.channel) == 1)


async def test_a_wrong_token_is_noticed_before_there_is_anything_to_post(virtual_notifiers: Any, slack: Any) -> None:
    slack.token = "xoxb-other"
    async with virtual_notifiers.run(slack_token=SecretStr("xoxb-canary")) as running:
        await running.until(lambda: running.health.faults[CONDITION].startswith("invalid_auth"))
        slack.token = "xoxb-canary"
        await running.until(lambda: running.health.ready)


@pytest.mark.parametrize("fault", ["lost_after", "lost_before"])
async def test_a_message_whose_answer_was_lost_is_looked_up_and_seen_exactly_once(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any, fault: str
) -> None:
    slack.faults = [fault]
    await bus.publish(events.fill())
    async with virtual_notifiers.run():
        await settled("FILL", "notifier-fill")
    assert len(slack.channel) == 1


async def test_a_lost_answer_that_cannot_be_looked_up_doubles_a_critical_alert_but_nothing_else(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    slack.history = False
    slack.faults = ["lost_after", "ok", "lost_after"]
    await bus.publish(events.alert())
    async with virtual_notifiers.run():
        await slack.until(lambda: len(slack.channel) == 2)
        await bus.publish(events.fill())
        await settled("FILL", "notifier-fill")
    assert [text.split(":")[0].split(" ")[0] for text in slack.texts] == ["CRITICAL", "CRITICAL", "Fill"]


async def test_where_slack_refuses_the_layout_the_plain_text_is_posted(
    notifiers: Any, bus: Bus, slack: Any, events: Any
) -> None:
    slack.faults = [(200, {"ok": False, "error": "invalid_blocks"}, {})]
    await bus.publish(events.fill())
    async with notifiers.run():
        await slack.until(lambda: len(slack.channel) == 1)
    assert slack.texts[0].startswith("Fill: BTCUSDT buy")
    assert "blocks" not in slack.channel[0]


async def test_the_same_news_under_two_messages_is_told_once(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await bus.publish(events.order(event_id="a/open", intent_closed=False))
    await bus.publish(events.order(event_id="a/closed", intent_closed=True))
    async with notifiers.run():
        await settled("ORDER", "notifier-order")
        await bus.publish(events.order(event_id="a/late", intent_closed=True))
        await settled("ORDER", "notifier-order")
    assert len(slack.channel) == 1


async def test_only_the_chosen_kinds_are_told(notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any) -> None:
    await bus.publish_all([events.fill(), events.order(), events.alert(severity=Severity.INFO), events.alert(2)])
    async with notifiers.run(kinds=("alert",)):
        await slack.until(lambda: len(slack.channel) == 2)
        await settled("ALERT", "notifier-alert")
    assert sorted(text.split(" ")[0] for text in slack.texts) == ["CRITICAL", "INFO"]


async def test_a_notifier_of_another_run_takes_nothing_from_the_live_one(
    notifiers: Any, nats_url: str, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await bus.publish(events.fill())
    settings = ServiceSettings(nats_url=nats_url, run_id="replay-1")
    async with connect(settings, name="replay") as replay_bus:
        replay = type(notifiers)(replay_bus, slack)
        await replay_bus.publish(events.fill())
        async with replay.run():
            await settled("FILL", "notifier-fill-replay-1")
    assert [text[:17] for text in slack.texts] == ["[replay-1] Fill: "]
    async with notifiers.run():
        await settled("FILL", "notifier-fill")
    assert [text[:5] for text in slack.texts] == ["[repl", "Fill:"]


async def test_a_message_that_cannot_be_read_becomes_a_dead_letter_and_an_alert(
    notifiers: Any, bus: Bus, slack: Any, settled: Any
) -> None:
    await bus.jetstream.publish("fill.main.BTCUSDT", b"\xff\xff")
    async with notifiers.run():
        await slack.until(lambda: len(slack.channel) == 1)
        await settled("FILL", "notifier-fill")
    assert slack.texts[0].startswith("CRITICAL dead_letter (notifier): notifier-fill put a message")
    assert (await bus.api("STREAM.INFO.DEAD"))["state"]["messages"] == 1


async def test_an_event_older_than_the_limit_is_passed_over(
    notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await bus.publish(events.fill())
    async with notifiers.run(oldest_h=1e-9):
        await settled("FILL", "notifier-fill")
    assert slack.attempts == []


async def test_slack_that_is_away_for_long_is_an_alert_that_slack_tells_once_it_is_back(
    virtual_notifiers: Any, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    await slack.stop()
    async with virtual_notifiers.run(slack_alert_s=300) as running:
        await bus.publish(events.fill())
        await running.until(lambda: CONDITION in running.health.faults)
        async with asyncio.timeout(90):
            while not (await bus.api("STREAM.INFO.ALERT"))["state"]["messages"]:
                await asyncio.sleep(0.01)
        await slack.start()
        await slack.until(lambda: any("slack_away" in text for text in slack.texts))
        await settled("FILL", "notifier-fill")
        await settled("ALERT", "notifier-alert-critical")
    assert sum("slack_away" in text for text in slack.texts) == 1
    assert count_of("fill", slack.texts) == 1
