"""Wiring: settings to a running exchange; in a replay the bus feeds it."""

import asyncio

from breakwater_runtime.bus import connect
from paper_exchange_service.bus_feed import bus_prices
from paper_exchange_service.server import PaperExchange, follow_accounts, options_of, serve
from paper_exchange_service.settings import Mode, PaperExchangeSettings


async def run(settings: PaperExchangeSettings, stop: asyncio.Event) -> None:
    """Run until the event is set.

    Raises:
        DependencyError: If the port is taken, or in a replay the bus is not reachable.
        InvalidInputError: If the configuration or a recording is wrong.
    """
    config = settings.configuration()
    if settings.mode is Mode.REAL_TIME:
        await serve(settings, config, stop=stop)
        return
    exchange = PaperExchange(options_of(settings, config))
    exchange.health.fail("bus", "connecting")
    async with (
        exchange,
        connect(settings, name="paper-exchange", health=exchange.health, stop=stop) as bus,
        bus_prices(bus, exchange.replay),
    ):
        exchange.health.hold("bus")
        follow_accounts(settings, exchange)
        await stop.wait()
