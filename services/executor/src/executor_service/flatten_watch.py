"""Carries out the flatten orders of the control document on the accounts of this process."""

import asyncio
from collections.abc import Mapping

from breakwater_core.control import FlattenOrder
from breakwater_core.control_answers import entries_may_come
from breakwater_runtime.control import AcknowledgementWatch, ControlWatch
from executor_service.drain import Draining
from executor_service.entry_flights import EntryFlights
from executor_service.flatten_run import AccountFlatten, FlattenTools
from executor_service.ports import WholeAccount

_LOOK_S = 1.0


class FlattenWatch:
    """One flatten at a time per account, the newest order first."""

    def __init__(
        self,
        control: ControlWatch,
        acknowledgements: AcknowledgementWatch,
        flights: EntryFlights,
        *,
        accounts: Mapping[str, WholeAccount],
        tools: FlattenTools,
        settle_s: float,
    ) -> None:
        """Act on these accounts; `settle_s` after an order the exchange accepts nothing stamped before it."""
        self._control = control
        self._acknowledgements = acknowledgements
        self._flights = flights
        self._accounts = accounts
        self._tools = tools
        self._settle_s = settle_s

    async def run(self, stop: asyncio.Event) -> None:
        """Flatten whenever it is ordered, until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            for name, account in self._accounts.items():
                tasks.create_task(self._watch(name, account, stop), name=f"flatten-{name}")

    async def _watch(self, name: str, account: WholeAccount, stop: asyncio.Event) -> None:
        flatten = AccountFlatten(name, account, self._tools)
        done = 0
        try:
            while not stop.is_set():
                state = self._control.state
                order = state.flatten_order(name)
                if order is not None and order.epoch > done:
                    await self._flatten(name, flatten, order)
                    done = order.epoch
                else:
                    await self._control.wait_for_change(state, _LOOK_S)
        except Draining:
            return
        finally:
            await flatten.settle()

    async def _flatten(self, name: str, flatten: AccountFlatten, order: FlattenOrder) -> None:
        loop = asyncio.get_running_loop()
        seen_s, seen_ms = loop.time(), self._control.stored_ms

        def obstacle() -> str:
            if count := self._flights.of_accounts().get(name, 0):
                return f"{count} entries of this process are followed whose end is not known"
            return entries_may_come(
                self._acknowledgements.heard,
                run_id=self._tools.run_id,
                account=name,
                epoch=order.epoch,
                is_late=loop.time() - seen_s >= self._settle_s,
                at_ms=seen_ms,
            )

        await flatten.run(order, is_wanted=lambda: self._control.state.flatten_order(name) == order, obstacle=obstacle)
