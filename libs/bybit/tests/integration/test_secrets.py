"""No log line, error or repr ever shows a key, a secret or a signature, whatever goes wrong."""

import asyncio
import logging
import traceback
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import structlog

from breakwater_bybit.budget import ProcessBudget
from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import CredentialError, ExchangeError
from breakwater_bybit.streams import PrivateStream
from breakwater_bybit.transport import Channel
from breakwater_core.events import Side

LINK = "bw-body-canary-1"


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """All log records of all libraries at the lowest level, tracebacks included, as they would be written."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith("websockets."):  # the tests' server, which sees the login
                lines.append(logging.Formatter("%(name)s %(message)s").format(record))

    root, collect = logging.getLogger(), Collect(0)
    level = root.level
    root.addHandler(collect)
    root.setLevel(1)
    names = ("pybit", "pybit._http_manager", "pybit._websocket_stream", "requests", "urllib3", "websocket", "asyncio")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(1)

    def write(_: Any, __: str, event: dict[str, Any]) -> str:
        lines.append(repr(event))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, write], cache_logger_on_first_use=False)
    yield lines
    structlog.reset_defaults()
    root.removeHandler(collect)
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


async def test_nothing_secret_is_logged_or_raised(
    exchange: Any, say: Any, said: Any, key: str, secret: str, everything_logged: list[str]
) -> None:
    echo = f"error sign! origin_string[1700000000000{key}5000{{}}] {secret}"
    faults = [
        say(code=10004, text=echo),
        say(code=10003, text=f"API key {key} is invalid."),
        say(code=110007, text=f"ab not enough {key}"),
        say(code=10006, text="Too many visits", X_Bapi_Limit_Reset_Timestamp="1"),
        said(status=401, body=echo.encode()),
        said(status=502, body=echo.encode()),
        said(body=echo.encode()),
        said(fault="drop"),
    ]
    raised: list[str] = []
    budget = ProcessBudget()
    async with BybitClient(exchange.url, api_key=key, api_secret=secret, timeout_s=0.5, budget=budget) as client:
        for fault in faults:
            exchange.script.append(fault)
            with pytest.raises(ExchangeError) as caught:
                await client.place_market_order(
                    symbol="BTCUSDT",
                    side=Side.BUY,
                    quantity=Decimal("0.123456789"),
                    order_link_id=LINK,
                    reduce_only=True,
                )
            raised.append("".join(traceback.format_exception(caught.value)))
            raised.append(repr(caught.value.__dict__))
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
        raised.append(repr(client))
    signatures = {request.headers["x-bapi-sign"] for request in exchange.received}
    assert len(exchange.received) == len(faults)
    assert everything_logged
    for text in [*raised, *everything_logged]:
        for hidden in (key, secret, LINK, "0.123456789", *signatures):
            assert hidden not in text


async def test_nothing_secret_is_logged_by_a_private_stream(
    stream_exchange: Any, key: str, secret: str, everything_logged: list[str]
) -> None:
    stream_exchange.accepts_login = False
    stream = PrivateStream(stream_exchange.url, key, secret, lambda _: None, lambda _: None)
    with pytest.raises(CredentialError) as caught:
        await asyncio.wait_for(stream.run(), 5)
    texts = [*everything_logged, "".join(traceback.format_exception(caught.value)), repr(stream)]
    signature = stream_exchange.requests[0]["args"][2]
    assert key in str(stream_exchange.requests[0])
    for text in texts:
        assert not any(hidden in text for hidden in (key, secret, signature))


def test_pybits_client_does_not_show_its_key_and_adds_no_log_handlers(key: str, secret: str) -> None:
    before = list(logging.getLogger("pybit._http_manager").handlers)
    channel = Channel("http://127.0.0.1:1", api_key=key, api_secret=secret, clock=lambda: 0, timeout_s=1)
    assert repr(channel) == "Channel('http://127.0.0.1:1')"
    assert logging.getLogger("pybit._http_manager").handlers == before
