"""Whether a search found anything, said plainly."""

from dataclasses import dataclass
from typing import Any, Final

from breakwater_research.search.deflated_sharpe import DeflatedSharpe
from breakwater_research.search.overfitting import Overfitting
from breakwater_research.search.randomization import LEVEL, RandomTest

LEAST_DEFLATED: Final = 0.95
MOST_OVERFIT: Final = 0.5


@dataclass(frozen=True)
class Check:
    """One condition of significance.

    Attributes:
        name: Short.
        passed: None if it could not be checked, which is not passing.
        detail: The figure beside its limit.
    """

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class Verdict:
    """All conditions; the result is significant only if every one holds."""

    checks: tuple[Check, ...]

    @property
    def is_significant(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.is_significant:
            return "Significant: every check holds. That speaks of these days and costs, not of the next ones."
        failed = "; ".join(check.detail for check in self.checks if not check.passed)
        return f"Not significant: {failed}."

    def as_values(self) -> dict[str, Any]:
        """Return the verdict as plain values."""
        checks = [{"name": check.name, "passed": check.passed, "detail": check.detail} for check in self.checks]
        return {"significant": self.is_significant, "sentence": self.sentence, "checks": checks}


def verdict_of(
    *,
    deflated: DeflatedSharpe,
    overfitting: Overfitting | None,
    flipped: RandomTest,
    shuffled: RandomTest | None,
    out_of_sample_sharpe: float | None,
) -> Verdict:
    """Return the verdict on a search; None stands for what could not be computed."""
    return Verdict(
        (
            _random_check("signs flipped", flipped, "returns without an edge"),
            _random_check("days shuffled", shuffled, "the same days in random order"),
            Check(
                "deflated Sharpe ratio",
                deflated.probability >= LEAST_DEFLATED,
                f"the chance that the Sharpe ratio is above that of the best of {deflated.tries:,} worthless sets is "
                f"{deflated.probability:.1%} (needed: {LEAST_DEFLATED:.0%})",
            ),
            Check("overfitting", None, "too few sets or days to judge overfitting")
            if overfitting is None
            else Check(
                "overfitting",
                overfitting.probability < MOST_OVERFIT,
                f"the set that looks best on half of the days is below the middle on the other half "
                f"{overfitting.probability:.0%} of the time (needed: below {MOST_OVERFIT:.0%})",
            ),
            Check("out-of-sample", None, "no days were held out")
            if out_of_sample_sharpe is None
            else Check(
                "out-of-sample",
                out_of_sample_sharpe > 0.0,
                f"the chosen set's Sharpe ratio on the days held out is {out_of_sample_sharpe:.2f} (needed: above 0)",
            ),
        )
    )


def _random_check(name: str, test: RandomTest | None, what: str) -> Check:
    if test is None:
        return Check(name, None, f"not compared with {what}")
    return Check(
        name,
        test.is_significant,
        f"{what} gave a best set as good with p = {test.p_value:.3f} (needed: {LEVEL:g} or less)",
    )
