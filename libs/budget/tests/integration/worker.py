"""A process that sends as many requests as the shared budget lets it, and prints when each one went out.

With `stop` as its last argument it takes one lease, stops itself like a machine that hangs, and prints whether the
lease is late once somebody lets it go on.
"""

import asyncio
import os
import signal
import sys

from breakwater_budget.shared import shared_budget
from breakwater_bybit.budget import Priority
from breakwater_bybit.budget_shared import boot_clock_ms
from breakwater_runtime.bus import connect
from breakwater_runtime.settings import ServiceSettings

_IN_FLIGHT = 12


async def main(nats_url: str, name: str, address_limit: int, *, stops: bool) -> None:
    """Send until killed: half of the requests are answered, after a while."""
    settings = ServiceSettings(nats_url=nats_url, run_id="test-run", instance=name)
    async with (
        connect(settings, name=name) as bus,
        shared_budget(
            bus, service="test", instance=name, exchange_url="http://exchange:1", address_limit=address_limit
        ) as budget,
    ):
        if stops:
            async with budget.take("order/create", "account-0", Priority.EXIT) as lease:
                sys.stdout.write(f"{lease.is_late}\n")
                sys.stdout.flush()
                os.kill(os.getpid(), signal.SIGSTOP)
                sys.stdout.write(f"{lease.is_late}\n")
            return

        async def send(number: int) -> None:
            answered = True
            while True:
                async with budget.take("order/create", f"account-{number % 3}", Priority.EXIT) as lease:
                    if not lease.is_late:
                        sys.stdout.write(f"{boot_clock_ms()} {number % 3}\n")
                        sys.stdout.flush()
                        await asyncio.sleep(0.01)
                        if answered := not answered:
                            lease.report(headers={}, ret_code=0, http_status=200)

        async with asyncio.TaskGroup() as tasks:
            for number in range(_IN_FLIGHT):
                tasks.create_task(send(number))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), stops=sys.argv[-1] == "stop"))
