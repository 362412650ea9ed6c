"""The books of an account made anew from the stream of its fills, for a cursor that was written without them."""

import asyncio

from breakwater_core.events import Fill
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.subjects import FILL_STREAM
from executor_service.account_ledger import AccountLedger
from executor_service.day_open_store import DayOpenStore
from executor_service.fill_book import Cursor

_READ_TIMEOUT_S = 60.0


async def rebuilt_ledger(
    bus: Bus, account: str, day_opens: DayOpenStore, cursor: Cursor, *, from_ms: int
) -> AccountLedger:
    """Return the books after exactly the executions that the cursor counts.

    They begin with the account's first day open. If that or a fill is gone, they come back empty, and open with the
    exchange's next statement.

    Args:
        bus: Where the fills are.
        account: Whose books.
        day_opens: Where the first day open is.
        cursor: How far executions were published.
        from_ms: Executions from here on are published once more unless the cursor names them.

    Raises:
        BusError: If the bus does not answer.
    """
    first = await day_opens.first(account)
    fills = await _fills(bus, account)
    counted = [fill for fill in fills if fill.exec_time_ms < from_ms or fill.exec_id in cursor.recent]
    ledger = AccountLedger()
    if first is None or len(counted) != cursor.fills_total:
        get_logger().warning(
            "ledger_not_rebuilt", account=account, fills_found=len(counted), fills_published=cursor.fills_total
        )
        return ledger
    ledger.open(wallet_balance=first.wallet_balance, positions=first.positions, at_ms=first.taken_at_ms)
    for fill in counted[first.fills_total :]:
        ledger.apply(fill)
    get_logger().info("ledger_rebuilt", account=account, fills=len(counted), wallet_balance=ledger.wallet_balance)
    return ledger


async def _fills(bus: Bus, account: str) -> list[Fill]:
    """Return the fills of the account in the bus's run, each once, in the order of time and id."""
    last = int((await bus.api(f"STREAM.INFO.{FILL_STREAM.name}"))["state"]["last_seq"])
    found: dict[str, Fill] = {}
    arrived = asyncio.Event()

    def handle(delivery: Delivery) -> None:
        decoded = codec.decode(delivery.subject, delivery.payload)
        fill = decoded.value
        if isinstance(fill, Fill) and (fill.run_id, fill.account) == (bus.run_id, account):
            found[fill.exec_id] = fill
        if delivery.sequence >= last:
            arrived.set()

    if last:
        try:
            async with (
                asyncio.timeout(_READ_TIMEOUT_S),
                read_stream(bus, name="ledger", stream=FILL_STREAM.name, filters=["fill.>"], start=1, handle=handle),
            ):
                await arrived.wait()
        except TimeoutError as error:
            raise BusError(f"the stream {FILL_STREAM.name} could not be read in time") from error
    return sorted(found.values(), key=lambda fill: (fill.exec_time_ms, fill.exec_id))
