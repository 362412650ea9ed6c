"""One client per account, opened and closed together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from breakwater_bybit.budget import ProcessBudget
from breakwater_bybit.client import BybitClient
from executor_service.account_keys import AccountKey
from executor_service.settings import ExecutorSettings

_REPLAY_TIMEOUT_S = 15.0
"""In event mode the exchange answers when the data has come that far."""


@asynccontextmanager
async def open_clients(
    settings: ExecutorSettings, keys: tuple[AccountKey, ...]
) -> AsyncIterator[dict[str, BybitClient]]:
    """Return the clients by account name; they share one request budget."""
    budget = ProcessBudget() if settings.request_budget and not settings.is_event_time else None
    timeout_s = _REPLAY_TIMEOUT_S if settings.is_event_time else settings.request_timeout_s
    async with AsyncExitStack() as stack:
        yield {
            key.name: await stack.enter_async_context(
                BybitClient(
                    settings.exchange_url,
                    api_key=key.api_key,
                    api_secret=key.api_secret,
                    timeout_s=timeout_s,
                    budget=budget,
                    workers=2 * settings.concurrency,  # so that exits find a connection while all entries hang
                )
            )
            for key in keys
        }
