"""What every sink promises, checked on each."""

import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from notifier_service.composition import compose
from notifier_service.console_sink import ConsoleSink
from notifier_service.message import Message, MessageLinks
from notifier_service.notice import notice_of
from notifier_service.sink import Lookup, Posted, Sink
from notifier_service.slack_sink import open_slack


@dataclass
class Opened:
    """A sink, and what people see of it."""

    sink: Sink
    seen: Callable[[], list[str]]


@pytest.fixture(params=["console", "slack"])
async def opened(request: pytest.FixtureRequest, slack: Any) -> AsyncIterator[Opened]:
    if request.param == "console":
        stream = io.StringIO()
        yield Opened(ConsoleSink(stream), lambda: stream.getvalue().splitlines())
        return
    async with open_slack(token=SecretStr(slack.token), channel="#trading", base_url=slack.url, timeout_s=5) as sink:
        yield Opened(sink, lambda: slack.texts)


@pytest.fixture
def message(events: Any) -> Message:
    notice = notice_of(events.fill(), "live")
    assert notice is not None
    return compose([notice], "live", MessageLinks())


async def test_a_check_shows_nothing_to_anybody(opened: Opened) -> None:
    assert await opened.sink.check() == Posted()
    assert opened.seen() == []


async def test_a_posted_message_is_seen_once_in_order(opened: Opened, message: Message) -> None:
    other = Message("another", message.blocks)
    assert await opened.sink.post(message, "1") == Posted()
    assert await opened.sink.post(other, "2") == Posted()
    assert opened.seen() == [message.text, "another"]


async def test_a_message_that_was_never_posted_is_not_found(opened: Opened, message: Message) -> None:
    await opened.sink.post(message, "1")
    assert await opened.sink.find("2") in {Lookup.ABSENT, Lookup.IMPOSSIBLE}
