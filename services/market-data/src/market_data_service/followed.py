"""Which symbols the live feed follows, and how many days of bars it publishes: by all configurations in force."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Self

from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import symbols_of
from breakwater_runtime.bus import BusError
from breakwater_runtime.config_versions import ConfigWatch
from breakwater_runtime.logs import get_logger

_WARM_UP_MARGIN_DAYS = 2
_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Followed:
    """What configurations need of the feed.

    Attributes:
        symbols: Symbols that any of them names.
        warm_up_days: Days of CLOSED bars that the one which needs most of them needs.
    """

    symbols: tuple[str, ...]
    warm_up_days: int

    @classmethod
    def of(cls, configs: Iterable[BreakwaterConfig]) -> Self:
        """Return what these configurations need, at least one."""
        known = list(configs)
        days = max(max(one.strategy.ma_window, one.strategy.noise_days or 0) for one in known)
        return cls(symbols_of(known), days + _WARM_UP_MARGIN_DAYS)


async def follow_changes(versions: ConfigWatch, follow: Callable[[Followed], Awaitable[str | None]]) -> None:
    """Have what is followed changed with the configurations in force, until cancelled.

    `follow` returns what it could not do yet; it is asked again after a while.
    """
    while True:
        versions.changed.clear()
        try:
            failed = await follow(Followed.of(await versions.configs_in_force()))
        except BusError as error:
            failed = str(error)
        if failed is None:
            await versions.changed.wait()
            continue
        get_logger().warning("symbols_not_followed", reason=failed)
        await asyncio.sleep(_RETRY_S)
