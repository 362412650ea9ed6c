"""`breakwater halt|resume|flatten|status`: let entries of a running system through or not, and close its positions.

Exit codes: 0 done, 1 not confirmed by the person, 3 NATS is absent, 4 ordered but not acknowledged or proven in time.
"""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from breakwater_cli.running import run_async

if TYPE_CHECKING:
    from breakwater_cli.control import Answer

control_commands = typer.Typer()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
NatsOption = Annotated[
    str, typer.Option(envvar="BREAKWATER_NATS_URL", help="Where NATS listens; nothing else is needed.")
]
UserOption = Annotated[str | None, typer.Option(envvar="BREAKWATER_NATS_USER", help="NATS user.")]
PasswordOption = Annotated[
    str | None,
    typer.Option(
        envvar="BREAKWATER_NATS_PASSWORD",
        help="Its password; better in a file that BREAKWATER_NATS_PASSWORD_FILE names.",
    ),
]
AccountOption = Annotated[str | None, typer.Option(help="Only this account; default: all.")]
ReasonOption = Annotated[str, typer.Option(help="Why; shown with each refused entry.")]
DEFAULT_NATS_URL = "nats://127.0.0.1:4222"


@control_commands.command()
def halt(
    account: AccountOption = None,
    reason: ReasonOption = "",
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for the executors.")] = 10.0,
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop entries, at once and for good until `resume`: no entry decided before is executed afterwards. Exits go on.

    Exit code 4: halted, but an executor has not acknowledged it in time.
    """
    from breakwater_cli import control
    from breakwater_cli.bus_address import BusAddress

    address = BusAddress.of(nats, nats_user, nats_password)
    _end_with(run_async(lambda: control.halt(address, account, reason=reason, wait_s=wait)), as_json=as_json)


@control_commands.command()
def resume(
    account: AccountOption = None,
    give_up_flatten: Annotated[
        bool, typer.Option("--give-up-flatten", help="Also while a flatten is not proven.")
    ] = False,
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let entries through again. What was decided before and during the halt is not caught up."""
    from breakwater_cli import control
    from breakwater_cli.bus_address import BusAddress

    address = BusAddress.of(nats, nats_user, nats_password)
    answer = run_async(lambda: control.resume(address, account, gives_up_flatten=give_up_flatten))
    _end_with(answer, as_json=as_json)


@control_commands.command()
def flatten(
    account: AccountOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: ReasonOption = "",
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for the proof.")] = 90.0,
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Halt, cancel all open orders and close all positions of USDT perpetuals, whoever opened them; print the proof.

    Exit code 4: ordered, but not proven in time; the executors go on.
    """
    from breakwater_cli import control
    from breakwater_cli.bus_address import BusAddress

    subject = "every account" if account is None else f"account {account}"
    if not yes and not control.confirm(f"Close every position and order of {subject}?"):
        raise typer.Exit(1)
    address = BusAddress.of(nats, nats_user, nats_password)
    _end_with(run_async(lambda: control.flatten(address, account, reason=reason, wait_s=wait)), as_json=as_json)


@control_commands.command()
def status(
    nats: NatsOption = DEFAULT_NATS_URL,
    nats_user: UserOption = None,
    nats_password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print whether entries are let through, and which executor has acknowledged it."""
    from breakwater_cli import control
    from breakwater_cli.bus_address import BusAddress

    address = BusAddress.of(nats, nats_user, nats_password)
    _end_with(run_async(lambda: control.status(address)), as_json=as_json)


def _end_with(answer: "Answer", *, as_json: bool) -> None:
    text = json.dumps(answer.values) if as_json else "\n".join(answer.lines)
    sys.stdout.write(text + "\n")
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)
