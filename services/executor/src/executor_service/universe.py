"""The symbols of all configurations that run or are to begin: prepared in every account before the first is traded."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import DAY_MS
from breakwater_core.config_schedule import symbols_of
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Alert, Severity
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.config_versions import ConfigWatch
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.logs import get_logger
from executor_service.alarm import SERVICE
from executor_service.bybit_account import BybitAccount
from executor_service.fitness import Fitness
from executor_service.preflight import PreflightError
from executor_service.venue_clock import wall_clock_ms


class Universe:
    """Follows the configurations; what a new one adds is examined, set up and listened to, without a restart."""

    def __init__(
        self,
        bus: Bus,
        watch: ConfigWatch,
        fitness: Fitness,
        accounts: Mapping[str, BybitAccount],
        *,
        traded: Sequence[str],
        symbols: Sequence[str],
        retry_s: float,
    ) -> None:
        """Prepare symbols in all accounts, and listen to those that are traded.

        Args:
            bus: Where alerts go.
            watch: Tells of configurations.
            fitness: Examines and sets up.
            accounts: All accounts.
            traded: Names of those that intents come for.
            symbols: What is prepared already.
            retry_s: Seconds after which it is tried again to prepare what could not be.
        """
        self._bus = bus
        self._watch = watch
        self._fitness = fitness
        self._accounts = accounts
        self._traded = traded
        self._retry_s = retry_s
        self._told: set[tuple[str, ...]] = set()
        self.symbols: dict[str, None] = dict.fromkeys(symbols)
        """Symbols that are prepared, in their order; grows."""
        self._listen: list[Callable[[str, str], None]] = []

    def listen_with(self, open_queue: Callable[[str, str], None]) -> None:
        """Have a function told each account and symbol: those known and those to come."""
        self._listen.append(open_queue)
        self._open(self.symbols)

    async def run(self, stop: asyncio.Event) -> None:
        """Prepare what comes until `stop` is set."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._watch.changed.clear()
                is_done = await self._prepare()
                changed = asyncio.create_task(self._watch.changed.wait())
                timeout_s = None if is_done else self._retry_s
                await asyncio.wait({changed, stopping}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            stopping.cancel()
            with suppress(asyncio.CancelledError):
                await stopping

    async def _prepare(self) -> bool:
        """Prepare the symbols that are not; False: some could not be."""
        try:
            named = symbols_of(await self._watch.configs_in_force())
            new = tuple(symbol for symbol in named if symbol not in self.symbols)
            if not new:
                return True
            problems = await self._fitness.admit(new)
            if not problems:
                for account in self._accounts.values():
                    await account.load_instruments(new)
        except (
            BusError,
            DependencyError,
            PreflightError,
            ExchangeError,
            MalformedPayload,
            InvalidInputError,
        ) as error:
            problems = [str(error)]
        if problems:
            get_logger().warning("symbols_not_prepared", reason=" | ".join(problems))
            await self._tell(problems)
            return False
        self.symbols |= dict.fromkeys(new)
        self._open(new)
        get_logger().info("symbols_prepared", symbols=new)
        return True

    def _open(self, symbols: Sequence[str] | Mapping[str, None]) -> None:
        for open_queue in self._listen:
            for account in self._traded:
                for symbol in symbols:
                    open_queue(account, symbol)

    async def _tell(self, problems: Sequence[str]) -> None:
        """Raise the alert about these problems once."""
        case = tuple(problems)
        if case in self._told:
            return
        self._told.add(case)
        now_ms = wall_clock_ms()
        digest = hashlib.sha256(" | ".join(case).encode()).hexdigest()[:16]
        await self._bus.alert(
            Alert(
                alert_id=f"symbols_not_prepared/{self._bus.run_id}/{now_ms // DAY_MS}/{digest}",
                run_id=self._bus.run_id,
                severity=Severity.CRITICAL,
                service=SERVICE,
                name="symbols_not_prepared",
                summary=f"symbols of a configuration that is to begin cannot be traded yet: {' | '.join(problems)}",
                event_time_ms=now_ms,
            )
        )
