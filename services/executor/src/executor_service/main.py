"""Wiring of the executor: settings -> bus, clients -> the role."""

import asyncio

from breakwater_runtime.errors import SettingsError
from breakwater_runtime.service import open_service
from executor_service.account_feed import condition
from executor_service.account_role import run_account_role
from executor_service.drain import Drain
from executor_service.egress_guard import CONDITION as EGRESS_CONDITION
from executor_service.exchange_clients import open_clients
from executor_service.fitness import CONDITION
from executor_service.order_role import run_order_role
from executor_service.settings import ExecutorSettings, Role


async def run(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Play the role that the settings name, until `stop` is set.

    Raises:
        SettingsError: If the accounts cannot be read, or one that the configuration trades is missing.
        PreflightError: If the exchange refuses a key; in a replay, if an account must not be traded as it is.
        DependencyError: If the bus or the exchange is not reachable.
    """
    keys = settings.account_keys()
    if settings.role is Role.ORDER:
        names = {key.name for key in keys}
        if missing := sorted(set(settings.configuration().portfolio.accounts) - names):
            raise SettingsError(
                f"the configuration trades {', '.join(missing)}, but EXECUTOR_ACCOUNTS has no key of that name"
            )
    conditions = ["exchange", CONDITION]
    if settings.role is Role.ACCOUNT:
        conditions += [condition(key.name) for key in keys]
    if settings.guards_egress:
        conditions.append(EGRESS_CONDITION)
    drain = Drain(stop)
    async with (
        open_service("executor", settings, stop, *conditions) as service,
        open_clients(settings, keys, service.bus) as clients,
    ):
        if settings.role is Role.ORDER:
            await run_order_role(settings, service, clients, drain)
        else:
            await run_account_role(settings, service, keys, clients, drain)
