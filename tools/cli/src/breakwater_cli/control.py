"""Halting, resuming and flattening from the command line: over the bus alone, whatever else is down.

Exit code 4 says: what was ordered stands on the bus, but it was not confirmed in time.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from breakwater_cli.bus_address import BusAddress
from breakwater_core.control import EVERY_ACCOUNT, Control, Gate
from breakwater_core.control_answers import Acknowledgement, FlatProof, Heard, live
from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.bus import Bus, BusError, connect, redacted
from breakwater_runtime.control import ControlStore, StoredControl, read_acknowledgements
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.subjects import CONTROL_BUCKET, flat_key

UNCONFIRMED = 4
RECEIVE_WINDOW_S = 6.0
"""Bybit accepts a request for 5 s after its stamp; the machine's clock may be a second ahead of Bybit's."""
_LOOK_S = 0.1
_CONNECT_S = 4.0
"""Who halts is in a hurry: a bus that does not answer within this is named at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What holds after a command: for a machine, for a person, and the exit code."""

    values: dict[str, Any]
    lines: tuple[str, ...]
    exit_code: int = 0


async def halt(address: BusAddress, account: str | None, *, reason: str, wait_s: float) -> Answer:
    """Stop entries and wait until every live executor has acknowledged it.

    Raises:
        DependencyError: If the bus is not reachable.
        InvalidInputError: If no executor trades the account.
    """
    async with open_bus(address) as bus:
        await _check_account(bus, account)
        stored = await ControlStore(bus).change(lambda control: control.halt(account, reason=reason))
        epoch = stored.control.epoch
        silent, lines = await _acknowledged(bus, stored, wait_s)
        values = await _values(bus, stored) | {"unacknowledged": [one.instance for one in silent]}
        subject = "every account" if account is None else account
        lines = [f"halted: {subject} enters nothing any more, by epoch {epoch}", *lines]
        return Answer(values, tuple(lines), UNCONFIRMED if silent else 0)


async def resume(address: BusAddress, account: str | None, *, gives_up_flatten: bool) -> Answer:
    """Let entries through again; what was decided before and during the halt is not caught up.

    Raises:
        DependencyError: If the bus is not reachable.
        InvalidInputError: If a flatten is not proven yet and is not to be given up.
    """
    async with open_bus(address) as bus:
        await _check_account(bus, account)
        if not gives_up_flatten:
            await _check_flattened(bus, account)
        stored = await ControlStore(bus).change(lambda control: control.resume(account))
        return Answer(await _values(bus, stored), tuple(_state_lines(stored.control)))


async def flatten(address: BusAddress, account: str | None, *, reason: str, wait_s: float) -> Answer:
    """Halt, have everything closed, and wait for the proof of each account.

    Raises:
        DependencyError: If the bus is not reachable.
        InvalidInputError: If no executor trades the account.
    """
    async with open_bus(address) as bus:
        await _check_account(bus, account)
        at_ms = time.time_ns() // 1_000_000
        stored = await ControlStore(bus).change(
            lambda control: control.flattened(account, at_ms=at_ms, reason=reason or "flattened")
        )
        epoch = stored.control.epoch
        proofs, open_ = await _proven(bus, stored, account, wait_s)
        lines = [f"flatten of epoch {epoch}: {account or 'every account'} is halted and being closed"]
        lines += [line for proof in proofs for line in _proof_lines(proof)]
        lines += [f"NOT proven flat within {wait_s:g} s: {name}; the executors go on" for name in open_]
        if not proofs and not open_:
            lines.append("NOT proven flat: no executor is alive; the order stands, and is carried out once one starts")
        values = await _values(bus, stored) | {"flat": [proof.to_values() for proof in proofs], "not_flat": open_}
        return Answer(values, tuple(lines), 0 if proofs and not open_ else UNCONFIRMED)


async def status(address: BusAddress) -> Answer:
    """Return what the control document says, and who has acknowledged it.

    Raises:
        DependencyError: If the bus is not reachable.
    """
    async with open_bus(address) as bus:
        stored = await ControlStore(bus).read()
        values = await _values(bus, stored)
        lines = _state_lines(stored.control)
        for one in values["executors"]:
            state = "live" if one["live"] else "gone"
            lines.append(
                f"  {one['instance']:<18} {state}, run {one['run_id']}, accounts {', '.join(one['accounts'])}, "
                f"acknowledged epoch {one['epoch']}"
            )
        if not values["executors"]:
            lines.append("  no executor has ever acknowledged anything")
        for proof in values["flat"]:
            read_at = _time_text(proof["read_at_ms"])
            lines.append(f"  {proof['account']} was flat at {read_at} (epoch {proof['epoch']}, run {proof['run_id']})")
        return Answer(values, tuple(lines))


def confirm(question: str) -> bool:
    """Ask a person; without a terminal nobody can answer.

    Raises:
        InvalidInputError: If there is no terminal.
    """
    if not sys.stdin.isatty():
        raise InvalidInputError("flatten closes every position; give --yes where nobody can be asked")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


@asynccontextmanager
async def open_bus(address: BusAddress, run_id: str = LIVE_RUN_ID) -> AsyncIterator[Bus]:
    """Connect for one command.

    Raises:
        DependencyError: If the bus is not reachable, or does not answer.
        SettingsError: If the address contradicts itself.
    """
    settings = address.settings(run_id)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_CONNECT_S):
                bus = await stack.enter_async_context(connect(settings, name="command"))
        except TimeoutError as error:
            raise DependencyError(
                f"NATS is not reachable at {redacted(address.url)}; start it, or correct --nats or BREAKWATER_NATS_URL"
            ) from error
        try:
            yield bus
        except BusError as error:
            raise DependencyError(f"{error}; what holds now is shown by `breakwater status`") from error


async def _check_account(bus: Bus, account: str | None) -> None:
    """Refuse a name that no executor knows, as a misspelt one would stop nothing."""
    if account is None:
        return
    check_name("account", account)
    known = {name for one in await read_acknowledgements(bus) for name in one.acknowledgement.accounts}
    if known and account not in known:
        raise InvalidInputError(f"no executor trades the account {account!r}; there are {', '.join(sorted(known))}")


async def _check_flattened(bus: Bus, account: str | None) -> None:
    stored = await ControlStore(bus).read()
    subject = EVERY_ACCOUNT if account is None else account
    for order in stored.control.flatten:
        if order.account != subject:
            continue
        wanted = _wanted(live(await read_acknowledgements(bus), at_ms=stored.stored_ms), account)
        for run_id, name in wanted:
            if await bus.read(CONTROL_BUCKET, flat_key(run_id, name, order.epoch)) is None:
                raise InvalidInputError(
                    f"the flatten of epoch {order.epoch} is not proven for {name}; wait for it, "
                    "or give it up with --give-up-flatten"
                )


async def _acknowledged(bus: Bus, stored: StoredControl, wait_s: float) -> tuple[list[Acknowledgement], list[str]]:
    """Wait for the acknowledgements of all live executors; return those missing, and what to say."""
    deadline = time.monotonic() + wait_s
    while True:
        alive = live(await read_acknowledgements(bus), at_ms=stored.stored_ms)
        silent = [one for one in alive if one.epoch < stored.control.epoch]
        if not silent or time.monotonic() >= deadline:
            break
        await asyncio.sleep(_LOOK_S)
    if not alive:
        return [], ["  no executor is alive, so there was nobody to acknowledge it"]
    lines = [f"  {one.instance} has acknowledged epoch {one.epoch}" for one in alive if one not in silent]
    lines += [
        f"  {one.instance} has NOT acknowledged it within {wait_s:g} s; what it may have signed before the halt is "
        f"refused by the exchange from {RECEIVE_WINDOW_S:g} s after the halt on"
        for one in silent
    ]
    return silent, lines


async def _proven(
    bus: Bus, stored: StoredControl, account: str | None, wait_s: float
) -> tuple[list[FlatProof], list[str]]:
    """Wait for the proofs of all accounts that live executors trade; return them, and the accounts without one."""
    deadline = time.monotonic() + wait_s
    while True:
        alive = live(await read_acknowledgements(bus), at_ms=stored.stored_ms)
        wanted = _wanted(alive, account)
        found = {
            key: FlatProof.decode(value)
            for key in wanted
            if (value := await bus.read(CONTROL_BUCKET, flat_key(*key, stored.control.epoch))) is not None
        }
        if (wanted and len(found) == len(wanted)) or time.monotonic() >= deadline:
            return list(found.values()), [name for run_id, name in wanted if (run_id, name) not in found]
        await asyncio.sleep(_LOOK_S)


def _wanted(alive: Iterable[Acknowledgement], account: str | None) -> list[tuple[str, str]]:
    pairs = {(one.run_id, name) for one in alive for name in one.accounts if account in {None, name}}
    return sorted(pairs)


async def _values(bus: Bus, stored: StoredControl) -> dict[str, Any]:
    heard = await read_acknowledgements(bus)
    alive = live(heard, at_ms=time.time_ns() // 1_000_000)
    return stored.control.to_values() | {
        "revision": stored.revision,
        "changed_at_ms": stored.stored_ms,
        "executors": [_executor_values(one, alive) for one in sorted(heard, key=_place)],
        "flat": [proof.to_values() for proof in await _newest_proofs(bus)],
    }


def _place(heard: Heard) -> tuple[str, str]:
    return heard.acknowledgement.instance, heard.acknowledgement.process


def _executor_values(heard: Heard, alive: list[Acknowledgement]) -> dict[str, Any]:
    one = heard.acknowledgement
    return {
        "instance": one.instance,
        "run_id": one.run_id,
        "accounts": list(one.accounts),
        "epoch": one.epoch,
        "live": one in alive,
        "heard_at_ms": heard.stored_ms,
    }


async def _newest_proofs(bus: Bus) -> list[FlatProof]:
    newest: dict[tuple[str, str], FlatProof] = {}
    for key in await bus.keys(CONTROL_BUCKET, "flat."):
        value = await bus.read(CONTROL_BUCKET, key)
        if value is not None:
            proof = FlatProof.decode(value)
            known = newest.get((proof.run_id, proof.account))
            if known is None or known.epoch < proof.epoch:
                newest[proof.run_id, proof.account] = proof
    return [newest[key] for key in sorted(newest)]


def _state_lines(control: Control) -> list[str]:
    def says(name: str, gate: Gate) -> str:
        because = f" ({gate.reason})" if gate.reason else ""
        return f"{name}: {'HALTED' + because if gate.halted else 'entries are let through'}"

    lines = [f"{says('all accounts', control.everyone)}; epoch {control.epoch}"]
    lines += [f"  {says(name, gate)}" for name, gate in sorted(control.accounts.items()) if gate.halted]
    for order in control.flatten:
        subject = "every account" if order.account == EVERY_ACCOUNT else order.account
        lines.append(f"  flatten of {subject} ordered by epoch {order.epoch}")
    return lines


def _proof_lines(proof: FlatProof) -> list[str]:
    sizes = [f"    {symbol:<14} {size}" for symbol, size in proof.sizes.items()]
    return [f"  {proof.account} is flat at {_time_text(proof.read_at_ms)}: open orders {proof.open_orders}", *sizes]


def _time_text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
