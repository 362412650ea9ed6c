"""Do requests leave from where they should? A decision from what was seen, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from executor_service.egress import bound_addresses, covers, is_within


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


def judge(expected: Sequence[str], *, seen: str | None, key_ips: Sequence[str] | None) -> Verdict:
    """Return whether the address seen and the key's list at the exchange are the expected ones.

    What is known to be wrong counts, whatever else is not known. A key that is bound to no address accepts all, so
    it hinders nothing here; the preflight warns of it.

    Args:
        expected: Addresses or networks that requests may leave from, at least one.
        seen: Address that the echo service saw; None: not known.
        key_ips: The key's list as the exchange states it; None: not known.
    """
    wanted = ", ".join(expected)
    bound = bound_addresses(key_ips or ())
    if seen is not None and not is_within(seen, expected):
        return Verdict(Standing.MISMATCHED, f"requests leave from {seen}, expected was {wanted}; mend the egress route")
    if bound and (missing := [address for address in expected if not covers(bound, address)]):
        listed = f"the key's list ({', '.join(bound)}) lacks {', '.join(missing)}"
        return Verdict(Standing.MISMATCHED, f"{listed}; bind the key to the expected addresses")
    if bound and seen is not None and not is_within(seen, bound):
        return Verdict(
            Standing.MISMATCHED, f"requests leave from {seen}, which is not on the key's list ({', '.join(bound)})"
        )
    if seen is None or key_ips is None:
        return Verdict(Standing.UNKNOWN, "not known: " + ("the address" if seen is None else "the key's list"))
    return Verdict(Standing.MATCHED, f"requests leave from {seen}")


def next_verdict(before: Verdict, found: Verdict) -> Verdict:
    """Return what holds after a check: one that learned nothing changes nothing."""
    return before if found.standing is Standing.UNKNOWN and before.standing is not Standing.UNKNOWN else found
