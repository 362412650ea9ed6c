"""`breakwater config`: check a configuration, apply it to a running system from a day on, list and show versions.

Exit codes: 0 done, 1 somebody else applied one at the same time, 2 refused, 3 NATS is absent, 4 scheduled but not
acknowledged by a live signal in time.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breakwater_cli.running import run_async
from breakwater_core.market import LIVE_RUN_ID

if TYPE_CHECKING:
    from breakwater_cli.bus_address import BusAddress
    from breakwater_cli.control import Answer

NEXT_DAY = "next-day"

config = typer.Typer(name="config", help="Check a configuration; apply, list and show versions.")

FileOption = Annotated[Path | None, typer.Option("--config", help="YAML or JSON configuration.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be given several times.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
NatsOption = Annotated[str, typer.Option("--nats", envvar="BREAKWATER_NATS_URL", help="Where NATS listens.")]
UserOption = Annotated[str | None, typer.Option("--nats-user", envvar="BREAKWATER_NATS_USER", help="NATS user.")]
PasswordOption = Annotated[
    str | None,
    typer.Option(
        "--nats-password",
        envvar="BREAKWATER_NATS_PASSWORD",
        help="Its password; better in a file that BREAKWATER_NATS_PASSWORD_FILE names.",
    ),
]
RunOption = Annotated[str, typer.Option("--run-id", help="Run whose schedule is meant.")]
DEFAULT_NATS_URL = "nats://127.0.0.1:4222"


@config.callback(invoke_without_command=True)
def check(
    context: typer.Context,
    file: FileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Without a subcommand: check a configuration and print it in full, with its version."""
    if context.invoked_subcommand is not None:
        return
    import yaml

    from breakwater_runtime.config_file import read_config

    settings = read_config(file, overrides or ())
    values = settings.as_values()
    text = f"# version {settings.version}\n{yaml.safe_dump(values, sort_keys=False)}".rstrip()
    sys.stdout.write((json.dumps({"version": settings.version, "config": values}) if as_json else text) + "\n")


@config.command()
def apply(
    file: Annotated[Path, typer.Argument(help="YAML or JSON configuration.")],
    overrides: SetOption = None,
    effective: Annotated[
        str, typer.Option(help="First trading day, e.g. 2024-05-31, or next-day: the first that has not begun.")
    ] = NEXT_DAY,
    reason: Annotated[str, typer.Option(help="Why; kept with the schedule.")] = "",
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for the signals.")] = 10.0,
    run_id: RunOption = LIVE_RUN_ID,
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the running system trade by a configuration from a day on; never in the middle of a day."""
    from breakwater_cli import config_versions

    request = config_versions.ApplyRequest(
        path=file,
        overrides=tuple(overrides or ()),
        effective=effective,
        reason=reason,
        wait_s=wait,
        run_id=run_id,
    )
    address = _address(nats, nats_user, nats_password)
    _end_with(lambda: config_versions.apply(address, request), as_json=as_json)


@config.command("list")
def list_command(
    run_id: RunOption = LIVE_RUN_ID,
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was applied, and from which day on it held or will hold."""
    from breakwater_cli import config_versions

    address = _address(nats, nats_user, nats_password)
    _end_with(lambda: config_versions.list_versions(address, run_id), as_json=as_json)


@config.command()
def show(
    version: Annotated[
        str | None, typer.Argument(help="A version or its beginning; none: what is active and scheduled.")
    ] = None,
    run_id: RunOption = LIVE_RUN_ID,
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a version in full; without one which is active, which are scheduled, and what each signal says."""
    from breakwater_cli import config_versions

    address = _address(nats, nats_user, nats_password)
    _end_with(lambda: config_versions.show(address, version, run_id), as_json=as_json)


def _address(url: str, user: str | None, password: str | None) -> "BusAddress":
    from breakwater_cli.bus_address import BusAddress

    return BusAddress.of(url, user, password)


def _end_with(work: Callable[[], Awaitable["Answer"]], *, as_json: bool) -> None:
    answer = run_async(work)
    sys.stdout.write((json.dumps(answer.values) if as_json else "\n".join(answer.lines)) + "\n")
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)
