"""The control document: who may enter, the fencing epoch, and which accounts a person has ordered to be flattened.

The epoch counts halts and flattens and only grows. Each intent carries the newest epoch that its maker had seen; a halt
sets a fence at its own epoch, and no entry of an earlier one is executed again, not even after the halt is lifted. The
document is one value, replaced as a whole under the condition that nobody else has replaced it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.identities import check_name
from breakwater_core.verdicts import Refused

EVERY_ACCOUNT = "*"
"""Stands for all accounts in a flatten order; no account can be called so."""
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """What holds for one account, or for all.

    Attributes:
        halted: No entry is sent.
        fence: Entries decided under an earlier epoch are not sent, halted or not.
        reason: Why it was halted, in a person's words.
    """

    halted: bool = False
    fence: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FlattenOrder:
    """A person's order to close everything of an account.

    Attributes:
        epoch: Epoch that the order has raised; a later order of the same account replaces it.
        account: Name of the account, or `EVERY_ACCOUNT`.
        at_ms: When it was given, milliseconds since 1970-01-01T00:00Z; 0: not stated.
    """

    epoch: int
    account: str
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Control:
    """The state of the control document; the initial one lets everybody enter.

    Attributes:
        epoch: Halts and flattens so far.
        everyone: What holds for all accounts.
        accounts: What holds for single accounts besides, by name.
        flatten: Flatten orders that nobody has withdrawn, at most one per account, oldest first.
    """

    epoch: int = 0
    everyone: Gate = Gate()
    accounts: Mapping[str, Gate] = field(default_factory=dict)
    flatten: tuple[FlattenOrder, ...] = ()

    # -- questions -------------------------------------------------------------------------------------------------

    def is_halted(self, account: str) -> bool:
        """Return whether the account may not enter."""
        return self.everyone.halted or self.accounts.get(account, Gate()).halted

    def fence(self, account: str) -> int:
        """Return the earliest epoch whose entries the account may still execute."""
        return max(self.everyone.fence, self.accounts.get(account, Gate()).fence)

    def refusal(self, account: str, epoch: int) -> Refused | None:
        """Return why an entry of the account, decided under an epoch, may not be executed; None: it may."""
        if self.is_halted(account):
            own = self.accounts.get(account, Gate())
            reason = self.everyone.reason if self.everyone.halted else own.reason
            because = f" ({reason})" if reason else ""
            return Refused("halted", f"entries are halted{because}; `breakwater resume` lets them through again")
        if epoch < self.fence(account):
            return Refused("fenced", f"decided under epoch {epoch}, before the halt of epoch {self.fence(account)}")
        return None

    def flatten_order(self, account: str) -> FlattenOrder | None:
        """Return the newest order to flatten the account, or None."""
        orders = [order for order in self.flatten if order.account in {account, EVERY_ACCOUNT}]
        return max(orders, key=lambda order: order.epoch, default=None)

    # -- changes ---------------------------------------------------------------------------------------------------

    def halt(self, account: str | None = None, *, reason: str = "") -> "Control":
        """Return the state after a halt of one account, or of all: a new epoch, and a fence before it.

        Raises:
            InvalidInputError: If the account is no name, or the reason is longer than 200 characters.
        """
        epoch = self.epoch + 1
        gate = Gate(halted=True, fence=epoch, reason=_checked_reason(reason))
        return replace(self._with_gate(account, gate), epoch=epoch)

    def resume(self, account: str | None = None) -> "Control":
        """Return the state after a halt is lifted: of one account, or the one over all; fences stay.

        Its flatten order is withdrawn with it. A halt of a single account outlives the end of the one over all.

        Raises:
            InvalidInputError: If the account is no name.
        """
        fence = self.everyone.fence if account is None else self.accounts.get(account, Gate()).fence
        subject = EVERY_ACCOUNT if account is None else account
        remaining = tuple(order for order in self.flatten if order.account != subject)
        return replace(self._with_gate(account, Gate(fence=fence)), flatten=remaining)

    def flattened(self, account: str | None = None, *, at_ms: int, reason: str = "") -> "Control":
        """Return the state after a flatten was ordered: a halt, and the order under the same epoch.

        Args:
            account: Name of the account; None: all.
            at_ms: When it was given, milliseconds since 1970-01-01T00:00Z.
            reason: Why, in a person's words.

        Raises:
            InvalidInputError: If the account is no name, or the reason is longer than 200 characters.
        """
        halted = self.halt(account, reason=reason)
        subject = EVERY_ACCOUNT if account is None else account
        others = tuple(order for order in self.flatten if order.account != subject)
        return replace(halted, flatten=(*others, FlattenOrder(halted.epoch, subject, at_ms)))

    def _with_gate(self, account: str | None, gate: Gate) -> "Control":
        if account is None:
            return replace(self, everyone=gate)
        check_name("account", account)
        return replace(self, accounts={**self.accounts, account: gate})

    # -- the document ----------------------------------------------------------------------------------------------

    def to_values(self) -> dict[str, Any]:
        """Return the document as plain values that JSON can hold."""
        return {
            "epoch": self.epoch,
            **_gate_values(self.everyone),
            "accounts": {name: _gate_values(gate) for name, gate in sorted(self.accounts.items())},
            "flatten": [
                {"epoch": order.epoch, "account": order.account, "at_ms": order.at_ms} for order in self.flatten
            ],
        }

    def encode(self) -> bytes:
        """Return the document as JSON."""
        return json.dumps(self.to_values(), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Control":
        """Return the state that a document describes; an empty one is the initial state.

        A gate without a fence has it at the document's epoch, so that leaving it out never lets an old entry through.

        Raises:
            InvariantError: If it is no such document.
        """
        if not payload:
            return cls()
        try:
            values = json.loads(payload)
            epoch = _count(values["epoch"])
            control = cls(
                epoch=epoch,
                everyone=_gate(values, epoch),
                accounts={
                    check_name("account", name): _gate(gate, epoch)
                    for name, gate in dict(values.get("accounts", {})).items()
                },
                flatten=tuple(
                    FlattenOrder(_count(order["epoch"]), _subject(order["account"]), _count(order.get("at_ms", 0)))
                    for order in values.get("flatten", [])
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvariantError(
                f"the control document cannot be read: {payload[:100]!r} ({type(error).__name__}: {error}); "
                "entries are refused until it is set anew, e.g. by deleting the key and halting again"
            ) from error
        gates = (control.everyone, *control.accounts.values())
        if any(gate.fence > epoch for gate in gates) or any(order.epoch > epoch for order in control.flatten):
            raise InvariantError(f"the control document names an epoch above its own: {payload[:100]!r}")
        return control


def _gate_values(gate: Gate) -> dict[str, Any]:
    return {"halted": gate.halted, "fence": gate.fence} | ({"reason": gate.reason} if gate.reason else {})


def _gate(values: Any, epoch: int) -> Gate:
    halted = values["halted"]
    if not isinstance(halted, bool):
        raise TypeError(f"halted must be true or false, was {halted!r}")
    return Gate(halted, _count(values.get("fence", epoch)), str(values.get("reason", "")))


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"a count from 0 was expected, was {value!r}")
    return value


def _subject(value: Any) -> str:
    return EVERY_ACCOUNT if value == EVERY_ACCOUNT else check_name("account", value)


def _checked_reason(reason: str) -> str:
    text = " ".join(reason.split())
    if len(text) > _LONGEST_REASON:
        raise InvalidInputError(f"the reason has {len(text)} characters, {_LONGEST_REASON} are allowed")
    return text
