"""Wiring of market-data: the mode's module is loaded only when it is asked for, so that a live process stays small."""

import asyncio

from breakwater_runtime.service import open_service
from market_data_service.settings import MarketDataSettings, Mode

SERVICE = "market-data"


async def run(settings: MarketDataSettings, stop: asyncio.Event) -> None:
    """Publish market data until `stop` is set.

    Raises:
        InvalidInputError: If the configuration or a recording is wrong.
        DependencyError: If NATS or the exchange is not reachable.
    """
    config = settings.configuration()
    async with open_service(SERVICE, settings, stop, settings.mode.value) as service:
        if settings.mode is Mode.REPLAY:
            from market_data_service.replay import run_replay

            await run_replay(service, settings, config)
        else:
            from market_data_service.live import run_live

            await run_live(service, settings, config)
