"""The notifier as it is started by people: a process, its environment, its output and its end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from breakwater_runtime.bus import Bus

CHANNEL = "C0123456789"
CANARY = "xoxb-canary-7f3a"


@asynccontextmanager
async def process(nats_url: str, **values: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    environment |= {f"NOTIFIER_{name}": value for name, value in ({"NATS_URL": nats_url} | values).items()}
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier_service", env=environment, stdout=pipe, stderr=pipe
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def drained(running: asyncio.subprocess.Process) -> tuple[int, str, str]:
    running.send_signal(signal.SIGTERM)
    async with asyncio.timeout(90):
        output, log = await running.communicate()
    assert running.returncode is not None
    return running.returncode, output.decode(), log.decode()


async def test_without_a_token_each_event_is_a_line_on_standard_output(nats_url: str, bus: Bus, events: Any) -> None:
    await bus.publish_all(events.fill(number) for number in range(20))
    async with process(nats_url) as running:
        assert running.stdout is not None
        async with asyncio.timeout(90):
            lines = [await running.stdout.readline() for _ in range(20)]
        status, rest, log = await drained(running)
    assert all(line.startswith(b"Fill: BTCUSDT buy 0.5 @ 40000") for line in lines)
    assert rest == ""
    assert status == 0
    assert "service_drained" in log


async def test_killed_while_slack_has_a_fill_it_does_not_post_it_again(
    nats_url: str, bus: Bus, slack: Any, events: Any, settled: Any
) -> None:
    slack.faults = ["held"]
    values = {
        "SLACK_TOKEN": slack.token,
        "SLACK_CHANNEL": CHANNEL,
        "SLACK_BASE_URL": slack.url,
        "REDELIVERY_S": "0.5",
    }
    await bus.publish(events.fill())
    async with process(nats_url, **values) as first:
        await slack.until(lambda: len(slack.channel) == 1)
        first.kill()
        await first.wait()
    slack.release.set()
    async with process(nats_url, **values) as second:
        await settled("FILL", "notifier-fill")
        status, _, _ = await drained(second)
    assert status == 0
    assert len(slack.channel) == 1


async def test_a_token_shows_neither_in_the_log_nor_over_http(
    nats_url: str, bus: Bus, slack: Any, events: Any, unused_port: int
) -> None:
    await bus.publish(events.fill())
    values = {
        "SLACK_TOKEN": CANARY,
        "SLACK_CHANNEL": CHANNEL,
        "SLACK_BASE_URL": slack.url,
        "HTTP_PORT": str(unused_port),
        "LOG_LEVEL": "debug",
    }
    async with process(nats_url, **values) as running, aiohttp.ClientSession() as session:
        await slack.until(lambda: len(slack.attempts) >= 1)
        pages = []
        for path in ("ready", "metrics", "health"):
            async with session.get(f"http://127.0.0.1:{unused_port}/{path}") as answer:
                pages.append(await answer.text())
        status, output, log = await drained(running)
    assert "invalid_auth: Slack refused the token" in pages[0]
    assert "breakwater_notifier_pending" in pages[1]
    assert "invalid_auth: Slack refused the token" in log
    assert CANARY not in "".join([*pages, output, log])
    assert status == 0


async def test_bad_settings_end_the_start_with_a_line_that_names_them(nats_url: str) -> None:
    async with process(nats_url, SLACK_TOKEN=CANARY) as running:
        async with asyncio.timeout(90):
            _, log = await running.communicate()
    assert running.returncode == 2
    assert b"NOTIFIER_SLACK_CHANNEL: " in log
    assert CANARY.encode() not in log


async def test_a_token_that_was_rotated_is_used_without_a_restart(
    nats_url: str, bus: Bus, slack: Any, events: Any, tmp_path: Path, unused_port: int
) -> None:
    """One that Slack refuses is left alone, with an alert; posts go on under the old one."""
    file = tmp_path / "token"
    file.write_text(f"{slack.token}\n")
    values = {
        "SLACK_TOKEN_FILE": str(file),
        "SLACK_CHANNEL": CHANNEL,
        "SLACK_BASE_URL": slack.url,
        "MESSAGE_INTERVAL_S": "0",
        "GROUP_WINDOW_S": "0",
        "SECRETS_REFRESH_S": "0.1",
        "HTTP_PORT": str(unused_port),
    }
    async with process(nats_url, **values) as running:
        await bus.publish(events.fill(1))
        await slack.until(lambda: len(slack.channel) == 1)
        file.write_text(CANARY)
        await slack.until(lambda: any("secret_refused" in text for text in slack.texts))
        await bus.publish(events.fill(2))
        await slack.until(lambda: len(slack.channel) == 3)
        slack.token = "xoxb-second"
        file.write_text("xoxb-second\n")
        await bus.publish(events.fill(3))
        await slack.until(lambda: len(slack.channel) == 4)
        status, output, log = await drained(running)
    assert status == 0
    assert "secret_rotated" in log
    said = "".join([*map(str, slack.channel), output, log])
    assert not [secret for secret in (CANARY, "xoxb-right", "xoxb-second") if secret in said]
