"""`breakwater dead`: look at the messages that were put aside, play them again, or drop them.

Exit codes: 0 done, 1 one or more could not be played again, 2 no such letter, 3 NATS is absent.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from breakwater_cli.bus_address import BusAddress
from breakwater_cli.running import run_async
from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.dead_letters import DeadLetter, drop_letter, find_letter, list_letters, replay_letter
from breakwater_runtime.errors import explain

PASSWORD_VARIABLE = "BREAKWATER_NATS_PASSWORD"  # noqa: S105  # the name of a variable
SUMMARY_WIDTH = 100

dead = typer.Typer(name="dead", help="Messages that could not be processed: list, show, replay, drop.")

NatsOption = Annotated[str, typer.Option("--nats", envvar="BREAKWATER_NATS_URL", help="Address of NATS.")]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--nats-user",
        envvar="BREAKWATER_NATS_USER",
        help=f"Its user; the password is in {PASSWORD_VARIABLE} or the file that {PASSWORD_VARIABLE}_FILE names.",
    ),
]
NumberArgument = Annotated[int | None, typer.Argument(help="Number of the letter, as `list` shows it.")]
NumberOption = Annotated[int | None, typer.Option("--id", help="The same as the argument.")]
AllOption = Annotated[bool, typer.Option("--all", help="All letters, or all of --consumer.")]
ConsumerOption = Annotated[str | None, typer.Option("--consumer", help="Only what this consumer put aside.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

DEFAULT_NATS = "nats://127.0.0.1:4222"


@dead.command("list")
def list_command(
    nats: NatsOption = DEFAULT_NATS,
    user: UserOption = None,
    consumer: ConsumerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the letters, oldest first, each with its reason."""
    letters = _on_bus(nats, user, lambda bus: list_letters(bus, consumer=consumer))
    if as_json:
        _write(json.dumps([_values(letter) for letter in letters]))
        return
    for letter in letters:
        _write(_line(letter))
    if not letters:
        _write("no dead letters")


@dead.command()
def show(
    number: Annotated[int, typer.Argument(help="Number of the letter, as `list` shows it.")],
    nats: NatsOption = DEFAULT_NATS,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one letter with its content, decoded if it can be."""
    letter = _on_bus(nats, user, lambda bus: find_letter(bus, number))
    values = _values(letter) | {"content": letter.content}
    _write(json.dumps(values) if as_json else "\n".join(f"{name:<9} {value}" for name, value in values.items()))


@dead.command()
def replay(
    number: NumberArgument = None,
    ident: NumberOption = None,
    everything: AllOption = False,
    consumer: ConsumerOption = None,
    nats: NatsOption = DEFAULT_NATS,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give letters to the consumer that put them aside once more, and to no other; then remove them."""
    wanted = _wanted(number, ident, everything=everything)
    results = _on_bus(nats, user, lambda bus: _for_each(bus, wanted, consumer, replay_letter))
    _report(results, "played again", as_json=as_json)


@dead.command()
def drop(
    number: NumberArgument = None,
    ident: NumberOption = None,
    everything: AllOption = False,
    consumer: ConsumerOption = None,
    nats: NatsOption = DEFAULT_NATS,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove letters for good."""
    wanted = _wanted(number, ident, everything=everything)
    results = _on_bus(nats, user, lambda bus: _for_each(bus, wanted, consumer, drop_letter))
    _report(results, "dropped", as_json=as_json)


def _wanted(number: int | None, ident: int | None, *, everything: bool) -> int | None:
    """Return the one letter that is meant, None for all."""
    named = [value for value in (number, ident) if value is not None]
    if len(named) + everything != 1:
        raise InvalidInputError("name one letter by its number, or give --all")
    return named[0] if named else None


async def _for_each(
    bus: Bus, number: int | None, consumer: str | None, work: Callable[[Bus, DeadLetter], Awaitable[Any]]
) -> list[tuple[int, str]]:
    """Return the number of each letter, and why it could not be done; empty text: it was."""
    letters = await list_letters(bus, consumer=consumer) if number is None else [await find_letter(bus, number)]
    results = []
    for letter in letters:
        try:
            await work(bus, letter)
        except BreakwaterError as error:
            results.append((letter.number, explain(error)))
        else:
            results.append((letter.number, ""))
    return results


def _report(results: list[tuple[int, str]], done: str, *, as_json: bool) -> None:
    if as_json:
        _write(json.dumps([{"id": number, "done": not fault, "fault": fault or None} for number, fault in results]))
    else:
        for number, fault in results:
            _write(fault or f"{number} {done}")
        if not results:
            _write("no dead letters")
    if any(fault for _, fault in results):
        raise typer.Exit(1)


def _on_bus[T](nats: str, user: str | None, work: Callable[[Bus], Awaitable[T]]) -> T:
    settings = BusAddress.of(nats, user).settings()

    async def connected() -> T:
        async with connect(settings, name="cli") as bus:
            return await work(bus)

    return run_async(connected)


def _values(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.number,
        "at": _time(letter),
        "consumer": letter.consumer,
        "subject": letter.subject,
        "sequence": letter.sequence,
        "run_id": letter.run_id,
        "bytes": len(letter.payload),
        "reason": letter.reason,
    }


def _line(letter: DeadLetter) -> str:
    reason = letter.reason if len(letter.reason) <= SUMMARY_WIDTH else letter.reason[: SUMMARY_WIDTH - 1] + "…"
    return f"{letter.number:>6}  {_time(letter)}  {letter.consumer}  {letter.subject}  {reason}"


def _time(letter: DeadLetter) -> str:
    return f"{datetime.fromtimestamp(letter.stored_ms / 1000, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
