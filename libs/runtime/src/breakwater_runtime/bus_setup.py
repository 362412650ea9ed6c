"""`python -m breakwater_runtime.bus_setup`: make the streams and buckets of the bus, and check those that are there.

Run again it changes nothing. What an operator has set otherwise (limits, replicas) is told and left; what the system
cannot work with, or what its permissions rest on, is a failure. Settings begin with `BUS_SETUP_`.

Exit codes: 0 all are there, 1 one of them is not as it must be, 2 bad settings, 3 NATS is absent, refuses or has no
room, each for `BUS_SETUP_WAIT_S` long.
"""

import asyncio
import json
import sys
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from breakwater_core.errors import BreakwaterError
from breakwater_runtime.bus import Bus
from breakwater_runtime.bus_client import open_client
from breakwater_runtime.bus_streams import bodies, create_stream, differences, faults, missing_streams
from breakwater_runtime.errors import (
    EXIT_DRAINED,
    EXIT_FAILED,
    BusError,
    DependencyError,
    exit_code_of,
    explain,
)
from breakwater_runtime.logs import configure_logs, get_logger
from breakwater_runtime.settings import ServiceSettings

_RETRY_S = 0.5


class BusSetupSettings(ServiceSettings):
    """Environment of the set-up; every name starts with `BUS_SETUP_`."""

    model_config = SettingsConfigDict(env_prefix="BUS_SETUP_", frozen=True, extra="forbid")

    wait_s: float = Field(default=60.0, ge=0, le=3600)
    """Seconds to wait for a NATS that answers."""
    replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each new stream in a cluster of NATS servers; odd."""


async def set_up(settings: BusSetupSettings) -> list[str]:
    """Make what is missing and return what is not as it must be.

    Raises:
        DependencyError: If NATS is not reachable, refuses the user or has no room, for `wait_s` long.
        SettingsError: If a file of the settings cannot be used.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.wait_s
    while True:
        try:
            async with open_client(settings, name="setup") as client:
                return await _make(Bus(client, settings.run_id), settings.replicas)
        except (DependencyError, BusError) as error:
            if loop.time() + _RETRY_S > deadline:
                raise DependencyError(explain(error)) from error
            get_logger().warning("bus_awaited", reason=explain(error))
            await asyncio.sleep(_RETRY_S)


async def _make(bus: Bus, replicas: int) -> list[str]:
    wanted = bodies(replicas)
    for name in await missing_streams(bus):
        await create_stream(bus, wanted[name])
        get_logger().info("stream_created", stream=name)
    found_faults: list[str] = []
    for name, body in wanted.items():
        found: dict[str, Any] = (await bus.api(f"STREAM.INFO.{name}"))["config"]
        found_faults += faults(body, found)
        for difference in differences(body, found):
            get_logger().info("stream_differs", difference=difference)
    return found_faults


def main() -> int:
    """Set the bus up as the environment says and return the exit code."""
    try:
        settings = BusSetupSettings.load()
    except BreakwaterError as error:
        sys.stderr.write(f"setup: {explain(error)}\n")
        return exit_code_of(error)
    configure_logs(service="setup", run_id=settings.run_id, instance=settings.instance, level=settings.log_level)
    try:
        wrong = asyncio.run(set_up(settings))
    except BreakwaterError as error:
        get_logger().error("setup_failed", reason=explain(error))
        return exit_code_of(error)
    if wrong:
        get_logger().error("streams_wrong", faults=wrong, remedy="correct them with the nats tool, or remove them")
        return EXIT_FAILED
    sys.stdout.write(json.dumps({"streams": list(bodies())}) + "\n")
    return EXIT_DRAINED


if __name__ == "__main__":
    sys.exit(main())
