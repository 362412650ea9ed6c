"""Keeps in the database what each day runs under, as the bus tells it."""

import asyncio
from datetime import date

from sqlalchemy import func, select

from breakwater_core.config_schedule import DayVersion
from breakwater_core.errors import InvariantError
from breakwater_runtime.bus import BusError
from breakwater_runtime.config_versions import ConfigStore, ConfigWatch
from breakwater_runtime.logs import get_logger
from reporter_service.group_writer import GroupWriter
from reporter_service.recording import record_day_config
from reporter_service.tables import DayConfigRow

_RETRY_S = 1.0


async def keep_day_configs(store: ConfigStore, watch: ConfigWatch, writer: GroupWriter, run_id: str) -> None:
    """Write down what days run under, also of those that have begun meanwhile, until cancelled."""
    while True:
        watch.changed.clear()
        try:
            newest = await writer.apply(
                lambda session: session.scalar(select(func.max(DayConfigRow.day)).where(DayConfigRow.run_id == run_id))
            )
            for fixed in await store.days(after=newest or date.min):
                await _keep(fixed, watch, writer, run_id)
        except (BusError, InvariantError) as error:
            get_logger().warning("day_configs_not_read", reason=str(error))
            await asyncio.sleep(_RETRY_S)
        else:
            await watch.changed.wait()


async def _keep(fixed: DayVersion, watch: ConfigWatch, writer: GroupWriter, run_id: str) -> None:
    version = await watch.find(fixed.version)
    if version is None:
        return
    values = version.config.as_values()
    await writer.apply(
        lambda session: record_day_config(
            session, run_id=run_id, day=fixed.day, strategy_version=fixed.version, config=values
        )
    )
