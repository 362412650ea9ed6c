"""One client per account, opened and closed together, over one request budget."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from breakwater_budget.shared import shared_budget
from breakwater_bybit.budget import Lease, Priority, ProcessBudget, RequestBudget
from breakwater_bybit.client import BybitClient
from breakwater_runtime import tracing
from breakwater_runtime.bus import Bus
from executor_service.account_keys import AccountKey
from executor_service.alarm import SERVICE
from executor_service.call_trace import observe
from executor_service.settings import BudgetMode, ExecutorSettings

_REPLAY_TIMEOUT_S = 15.0
"""In event mode the exchange answers when the data has come that far."""
_APART_SHARE = 0.25
"""Of each limit of an account, for a process that leaves from another address than the others: it only exits."""


class PlaceBudget:
    """The budget shared with the other processes, or this one's own while its requests leave from elsewhere."""

    def __init__(self, shared: RequestBudget, own: RequestBudget) -> None:
        """Begin with the shared one."""
        self._shared = shared
        self._own = own
        self.is_apart = False
        """Whether requests leave from another address than those of the other processes."""

    def take(self, endpoint: str, uid: str, priority: Priority) -> AbstractAsyncContextManager[Lease]:
        """Wait until the request may be sent, see `RequestBudget`."""
        return (self._own if self.is_apart else self._shared).take(endpoint, uid, priority)


class ExchangeClients(dict[str, BybitClient]):
    """The clients by account name."""

    def __init__(self, make: Callable[[AccountKey], BybitClient], budget: RequestBudget | None = None) -> None:
        """Begin with none; `make` makes a client for a key, over the budget."""
        super().__init__()
        self._make = make
        self._budget = budget

    def move(self, is_apart: bool) -> None:
        """Take note whether requests leave from another address than those of the other processes."""
        if isinstance(self._budget, PlaceBudget):
            self._budget.is_apart = is_apart

    def client_for(self, key: AccountKey) -> BybitClient:
        """Return a further client of an account, e.g. to try a new key; the caller closes it."""
        return self._make(key)


@asynccontextmanager
async def open_clients(
    settings: ExecutorSettings, keys: tuple[AccountKey, ...], bus: Bus
) -> AsyncIterator[ExchangeClients]:
    """Return the clients by account name; they share one request budget.

    Raises:
        BusError: If the budget is shared over the bus, and that does not answer.
    """
    timeout_s = _REPLAY_TIMEOUT_S if settings.is_event_time else settings.request_timeout_s
    rotating = settings.rotating_secret("accounts")
    async with _open_budget(settings, bus) as budget, AsyncExitStack() as stack:

        def make(key: AccountKey, on_key_refused: Callable[[], None] | None = None) -> BybitClient:
            return BybitClient(
                settings.exchange_url,
                api_key=key.api_key,
                api_secret=key.api_secret,
                timeout_s=timeout_s,
                budget=budget,
                uid=key.name,
                workers=2 * settings.concurrency,  # so that exits find a connection while all entries hang
                on_key_refused=on_key_refused,
                observer=observe if tracing.is_on() else None,
            )

        clients = ExchangeClients(make, budget)
        for key in keys:
            clients[key.name] = await stack.enter_async_context(make(key, None if rotating is None else rotating.hurry))
        yield clients


@asynccontextmanager
async def _open_budget(settings: ExecutorSettings, bus: Bus) -> AsyncIterator[RequestBudget | None]:
    match settings.budget_mode:
        case BudgetMode.SHARED:
            async with shared_budget(
                bus,
                service=SERVICE,
                instance=settings.instance,
                exchange_url=settings.exchange_url,
                address_limit=settings.address_limit,
                ban_ms=round(settings.ban_s * 1000),
            ) as budget:
                own = ProcessBudget(
                    ip_limit=settings.address_limit, share=_APART_SHARE, ban_ms=round(settings.ban_s * 1000)
                )
                yield PlaceBudget(budget, own)
        case BudgetMode.PROCESS:
            yield ProcessBudget(ip_limit=settings.address_limit, ban_ms=round(settings.ban_s * 1000))
        case BudgetMode.OFF:
            yield None
