"""Tells how far this process has seen the control document: no earlier entry is about to be sent any more."""

import asyncio
import uuid
from contextlib import suppress

import nats.errors
import nats.js.errors

from breakwater_core.control_answers import HEARTBEAT_S, Acknowledgement
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.control import ControlWatch
from breakwater_runtime.logs import get_logger
from breakwater_runtime.subjects import CONTROL_BUCKET, seen_key
from executor_service.bus_patience import insist
from executor_service.entry_flights import EntryFlights

_LOOK_S = 0.2
_BEGIN_S = 30.0
_WITHDRAW_S = 1.0


class Acknowledger:
    """Publishes the acknowledged epoch when it grows, and at intervals as a sign of life."""

    def __init__(
        self, bus: Bus, watch: ControlWatch, flights: EntryFlights, *, instance: str, accounts: tuple[str, ...]
    ) -> None:
        """Acknowledge for this instance and these accounts."""
        self._bus = bus
        self._watch = watch
        self._flights = flights
        self._instance = instance
        self._accounts = accounts
        self._process = uuid.uuid4().hex[:8]
        self._key = seen_key(instance, self._process)
        self._epoch = -1
        self._told: Acknowledgement | None = None
        self._told_s = 0.0

    async def begin(self) -> None:
        """Acknowledge for the first time, before anything is sent; a bus that stalls for a while is waited for.

        Raises:
            BusError: If the bus does not answer within `_BEGIN_S`.
        """
        self._epoch = self._watch.state.epoch
        try:
            async with asyncio.timeout(_BEGIN_S):
                await insist(lambda: self._tell(self._newest()))
        except TimeoutError as error:
            raise BusError(f"{self._key} could not be written within {_BEGIN_S:g} s") from error

    async def run(self, idle: asyncio.Event) -> None:
        """Acknowledge until `idle` is set, then take the entry back.

        Not if an entry was left whose end is not known, nor if this is cut off: it stands like that of a process that
        has died, until nothing that this one has sent can have an effect any more.
        """
        while not idle.is_set():
            await self._look()
        if not self._flights.has_left:
            await self._withdraw()

    async def _look(self) -> None:
        state = self._watch.state
        if state.epoch != self._epoch and await self._flights.wait_for_answers(HEARTBEAT_S / 2):
            self._epoch = state.epoch
            get_logger().info("epoch_acknowledged", epoch=state.epoch, halted=state.everyone.halted)
        newest = self._newest()
        is_due = asyncio.get_running_loop().time() - self._told_s >= HEARTBEAT_S
        if newest != self._told or is_due:
            try:
                await self._tell(newest)
            except BusError as error:
                get_logger().warning("acknowledgement_waiting", reason=str(error))
        await self._watch.wait_for_change(state, _LOOK_S)

    def _newest(self) -> Acknowledgement:
        unsettled = self._flights.of_accounts() if self._watch.state.flatten else {}
        return Acknowledgement(
            instance=self._instance,
            process=self._process,
            run_id=self._bus.run_id,
            epoch=self._epoch,
            accounts=self._accounts,
            unsettled=unsettled,
        )

    async def _tell(self, acknowledgement: Acknowledgement) -> None:
        await self._bus.write(CONTROL_BUCKET, self._key, acknowledgement.encode())
        self._told, self._told_s = acknowledgement, asyncio.get_running_loop().time()

    async def _withdraw(self) -> None:
        with suppress(BusError, nats.errors.Error, nats.js.errors.Error, TimeoutError):
            async with asyncio.timeout(_WITHDRAW_S):
                await (await self._bus.bucket(CONTROL_BUCKET)).delete(self._key)
