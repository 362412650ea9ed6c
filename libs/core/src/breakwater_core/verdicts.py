"""How the domain says yes or no: a "no" is a value with a rule and a reason, not an error."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Approved:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule speaks against it.

    Attributes:
        rule: Name of the rule, out of a short fixed list; fit for a metric's label.
        detail: The same for a person, with the figures.
    """

    rule: str
    detail: str
