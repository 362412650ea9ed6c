"""Asking again: how often, and after how long a pause.

A pause doubles from try to try, and is shortened at random by up to half, so that many downloads that failed together
do not come back together.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from breakwater_bybit.errors import IpBanned
from breakwater_core.errors import InvalidInputError, TransientError

LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How often to ask, and how long to pause in between.

    Attributes:
        tries: Tries in all, at least 1.
        first_pause_s: Pause after the first failure, in seconds.
        sleep: Waits for a number of seconds.
    """

    tries: int = 6
    first_pause_s: float = 0.5
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def __post_init__(self) -> None:
        if self.tries < 1 or self.first_pause_s < 0:
            raise InvalidInputError(
                f"tries must be at least 1 and the pause not negative, were {self.tries} and {self.first_pause_s} s"
            )

    def pause_s(self, failures: int, *, at_least_s: float = 0.0) -> float:
        """Return how long to pause after so many failures, in seconds.

        Args:
            failures: At least 1.
            at_least_s: What the server asked for; obeyed up to `LONGEST_PAUSE_S`.
        """
        longest_s = min(LONGEST_PAUSE_S, self.first_pause_s * 2.0 ** min(failures - 1, 16))
        chosen_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311  # spreads requests, guards nothing
        return min(LONGEST_PAUSE_S, max(chosen_s, at_least_s))

    async def run[T](self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returns, trying again while it fails for a passing reason.

        Raises:
            TransientError: The last failure, once all tries are used up; `IpBanned` at once, as asking on prolongs it.
        """
        failures = 0
        while True:
            try:
                return await work()
            except IpBanned:
                raise
            except TransientError:
                failures += 1
                if failures >= self.tries:
                    raise
            await self.sleep(self.pause_s(failures))
