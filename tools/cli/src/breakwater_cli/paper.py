"""The paper exchange in this process: one line when it is ready, until SIGTERM or ctrl-C."""

import asyncio
import json
import signal
import sys

import uvloop

from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.logs import configure_logs
from paper_exchange_service.server import PaperExchange, serve
from paper_exchange_service.settings import PaperExchangeSettings, parse_account


def serve_paper_exchange(
    *, port: int, recordings: tuple[str, ...], accounts: tuple[str, ...], config: BreakwaterConfig, as_json: bool
) -> None:
    """Serve REST and sockets on one port, on the wall clock.

    Raises:
        DependencyError: If the port is taken.
        InvalidInputError: If an account or a recording is wrong.
    """
    settings = PaperExchangeSettings(
        http_port=port,
        recordings=recordings,
        accounts=tuple(parse_account(text, number) for number, text in enumerate(accounts, start=1)),
        log_level="warning",
    )
    configure_logs(service="paper-exchange", run_id=LIVE_RUN_ID, instance="0", level=settings.log_level)

    def announce(exchange: PaperExchange) -> None:
        addresses = {"rest": exchange.rest_url, "ws": exchange.stream_url}
        text = json.dumps(addresses) if as_json else f"paper exchange: {addresses['rest']}  streams {addresses['ws']}"
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    async def serving() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, config, stop=stop, on_ready=announce)

    uvloop.run(serving())
