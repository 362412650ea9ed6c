"""Do requests leave from where they should? A decision from what was seen, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from executor_service.egress import bound_addresses, covers, is_inside, is_within


class Standing(StrEnum):
    """How the egress address stands to the expected ones."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one comparison, and what was seen or is to be done."""

    standing: Standing
    detail: str


UNCHECKED = Verdict(Standing.UNKNOWN, "the egress address was not checked yet")
TRUST_S = 600.0
"""A match is trusted for so long while later checks learn nothing."""


def list_fault(expected: Sequence[str], key_ips: Sequence[str]) -> str:
    """Return why a key's list at the exchange does not fit the expected addresses; empty: it does."""
    bound = bound_addresses(key_ips)
    if not bound:
        return f"the key is bound to no address; bind it to the expected ones ({', '.join(expected)})"
    if missing := [address for address in expected if not covers(bound, address)]:
        listed = f"the key's list ({', '.join(bound)}) lacks {', '.join(missing)}"
        return f"{listed}; bind the key to the expected addresses"
    return ""


def judge(expected: Sequence[str], *, seen: str | None, key_ips: Sequence[str] | None) -> Verdict:
    """Return whether the address seen and the key's list at the exchange are the expected ones.

    What is known to be wrong counts, whatever else is not known. A key that is bound to expected addresses alone needs
    no echo service: the exchange has just answered it, so the address is one of them.

    Args:
        expected: Addresses or networks that requests may leave from, at least one.
        seen: Address that the echo service saw; None: not known.
        key_ips: The key's list as the exchange states it to a request that has just left; None: not known.
    """
    wanted = ", ".join(expected)
    bound = bound_addresses(key_ips or ())
    if seen is not None and not is_within(seen, expected):
        return Verdict(Standing.MISMATCHED, f"requests leave from {seen}, expected was {wanted}; mend the egress route")
    if key_ips is not None and (why_not := list_fault(expected, key_ips)):
        return Verdict(Standing.MISMATCHED, why_not)
    if bound and seen is not None and not is_within(seen, bound):
        return Verdict(
            Standing.MISMATCHED, f"requests leave from {seen}, which is not on the key's list ({', '.join(bound)})"
        )
    if key_ips is None:
        return Verdict(Standing.UNKNOWN, "not known: " + ("the address" if seen is None else "the key's list"))
    if seen is not None:
        return Verdict(Standing.MATCHED, f"requests leave from {seen}")
    if all(is_inside(address, expected) for address in bound):
        return Verdict(Standing.MATCHED, f"the exchange takes the key, which is bound to {', '.join(bound)} alone")
    return Verdict(Standing.UNKNOWN, "not known: the address")


def next_verdict(before: Verdict, found: Verdict, *, age_s: float = 0.0, trust_s: float = TRUST_S) -> Verdict:
    """Return what holds after a check: one that learned nothing changes nothing, but no match is trusted for ever.

    Args:
        before: What held.
        found: What the check has found.
        age_s: Seconds since a check last learned anything.
        trust_s: A match holds for so long without another one.
    """
    if found.standing is not Standing.UNKNOWN or before.standing is Standing.UNKNOWN:
        return found
    return found if before.standing is Standing.MATCHED and age_s >= trust_s else before
