"""One intent in, its order events out. What to do is decided elsewhere; this takes it up, or where it was left."""

from collections.abc import Callable, Mapping

from breakwater_core.errors import PermanentError, TransientError
from breakwater_core.events import Intent
from breakwater_runtime import trace_steps
from breakwater_runtime.consumers import Received
from executor_service import metrics
from executor_service.drain import Drain
from executor_service.entry_run import EntryRun
from executor_service.intent_work import IntentWork
from executor_service.ports import Publisher, Records, TradingAccount
from executor_service.record_store import TakenOver
from executor_service.reduction_run import ReductionRun
from executor_service.venue_clock import wall_clock_ms


class IntentHandler:
    """Handles intents, each to its outcome; a repeat of a closed one publishes the same outcome again."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, TradingAccount],
        records: Records,
        publisher: Publisher,
        entries: EntryRun,
        reductions: ReductionRun,
        drain: Drain,
        wall_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Trade on these accounts, by name; `wall_ms` is the wall clock, milliseconds since 1970."""
        self._accounts = accounts
        self._records = records
        self._publisher = publisher
        self._entries = entries
        self._reductions = reductions
        self._drain = drain
        self._wall_ms = wall_ms

    async def receive(self, received: Received) -> None:
        """Handle a message of the bus; as `handle`."""
        with trace_steps.handle(received.event, delivery=received.deliveries):
            await self.handle(received.event, is_first=received.deliveries == 1)

    async def handle(self, intent: Intent, *, is_first: bool = False) -> None:
        """Bring an intent to its outcome.

        Args:
            intent: What to do.
            is_first: The message is delivered for the first time, so nobody is likely to have begun: the record is not
                read but written under the condition that there is none. If there is one, nothing is sent before it has
                been read.

        Raises:
            PermanentError: If an entry is for an account that this executor does not have.
            TakenOver: If another process works on it.
            TransientError: If it must be delivered again: the process stops, or an exit is for an account that this
                executor does not have.
        """
        account = self._accounts.get(intent.account)
        if account is None:
            problem = f"no account {intent.account!r} in EXECUTOR_ACCOUNTS; give its key to every executor"
            raise TransientError(problem) if intent.leg.reduces else PermanentError(problem)
        self._drain.check()
        with metrics.INTENTS_IN_HAND.track_inprogress():
            work = await IntentWork.open(
                intent, account, self._records, self._publisher, is_first=is_first, wall_ms=self._wall_ms
            )
            try:
                await self._work(work)
            except TakenOver:
                if not is_first or work.revision:
                    raise
                work = await IntentWork.open(intent, account, self._records, self._publisher, wall_ms=self._wall_ms)
                await self._work(work)

    async def _work(self, work: IntentWork) -> None:
        if work.is_of_another:
            await self._entries.refuse(work)
            return
        if work.record.is_closed:
            await (work.tell_again() if work.intent.leg.reduces else self._entries.repeat(work))
            return
        if not work.is_new:
            await work.claim()
        if work.intent.leg.reduces:
            await self._reductions.run(work)
        else:
            await self._entries.run(work)
