"""A burst of 400 entries on 20 accounts over 4 executors behind one address: how much of its limit is used."""

from bench.burst_run import Burst, run_burst
from bench.effort import Effort
from bench.figures import Figure, Section, Target, percentile
from breakwater_bybit.budget import Priority, most_of

_ADDRESS_LIMIT = 600


async def measure(effort: Effort) -> Section:
    """Measure bursts, each on a system of its own."""
    entries = effort.pick(400, 80)
    bursts: list[Burst] = []
    for number in range(effort.repetitions):
        effort.tell(f"burst {number + 1} of {effort.repetitions}")
        bursts.append(await run_burst(effort.scratch("burst"), entries=entries, exits=20, address_limit=_ADDRESS_LIMIT))
    notes = (
        f"{entries} entries on 20 accounts and 4 executors; 20 exits are put on the bus when half of these are done.",
        f"Bybit's limit: {_ADDRESS_LIMIT} requests in 5 s; entries may use {most_of(_ADDRESS_LIMIT, Priority.ENTRY)}.",
        "Rates and refusals are counted by the paper exchange, which enforces the limits.",
    )
    return Section("a burst behind one address", tuple(_figures(bursts)), notes)


def _figures(bursts: list[Burst]) -> list[Figure]:
    none = Target(0, 0, at_most=True)
    return [
        Figure("refused with 10006 or 403", "requests", tuple(float(burst.breaches) for burst in bursts), none),
        Figure("orders beyond one an intent", "orders", tuple(float(burst.duplicates) for burst in bursts), none),
        Figure(
            "most requests within 5 s, of the limit",
            "%",
            tuple(100 * burst.most_in_a_window / _ADDRESS_LIMIT for burst in bursts),
            Target(90, 97),
        ),
        Figure(
            "mean over the burst, of the limit",
            "%",
            tuple(100 * burst.mean_in_a_window / _ADDRESS_LIMIT for burst in bursts),
            Target(90, 97),
        ),
        Figure(
            "entries taken while exits were on their way",
            "entries",
            tuple(float(burst.entries_before_the_last_exit) for burst in bursts),
        ),
        Figure(
            "entries still to come after the last exit",
            "entries",
            tuple(float(burst.entries_after_the_last_exit) for burst in bursts),
        ),
        Figure(
            "exit put on the bus until taken, median",
            "s",
            tuple(percentile([t - burst.exits_published_ms for t in burst.exits_ms], 0.5) / 1000 for burst in bursts),
        ),
    ]
