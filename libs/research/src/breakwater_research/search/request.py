"""What a search is asked to do, checked, and its identity: the same request on the same data is the same search."""

import hashlib
import json
import tomllib
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import yaml

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.figures import Objective
from breakwater_research.search.space import SearchSpace
from breakwater_research.search.walk_forward import WalkForwardPlan

FORMAT: Final = 1
"""Of results, search.json and finished chunks; another number does not resume."""


SHARPE: Final = Objective("sharpe")


class Method(StrEnum):
    """How the space is searched."""

    GRID = "grid"
    """Every set."""
    BAYES = "bayes"
    """So many sets, each batch asked for by Optuna's tree-structured Parzen estimator after the ones before."""


@dataclass(frozen=True)
class SearchRequest:
    """A search.

    Attributes:
        space: What varies.
        objective: What is to be large on the in-sample days.
        method: Grid or Bayesian.
        trials: Bayesian: sets asked for, per choice to be made (in-sample, and each walk-forward window).
        seed: Of the Bayesian sampler, of the shuffled days and of the flipped signs.
        plan: Walk-forward windows; None: none.
        holdout: Share of the days, the last ones, that are out-of-sample: they choose nothing. In [0, 0.9].
        permutations: Times that the days are shuffled and the search is done again; 0: not tested.
        chunk_sets: Sets computed at a time: what an interruption can lose.
        first_day: First day; None: the first complete one.
        last_day: Last day, included; None: the last complete one.
    """

    space: SearchSpace
    objective: Objective = SHARPE
    method: Method = Method.GRID
    trials: int = 200
    seed: int = 7
    plan: WalkForwardPlan | None = None
    holdout: float = 0.3
    permutations: int = 200
    chunk_sets: int = 32
    first_day: date | None = None
    last_day: date | None = None

    def __post_init__(self) -> None:
        limits = {
            "trials": (1, 100_000),
            "seed": (0, 2**31 - 1),
            "permutations": (0, 100_000),
            "chunk_sets": (1, 100_000),
            "holdout": (0.0, 0.9),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidInputError(f"{name} must be in [{low}, {high}], was {getattr(self, name)}")

    def as_values(self) -> dict[str, Any]:
        """Return the request as plain values."""
        plan = self.plan
        values: dict[str, Any] = {
            "objective": str(self.objective),
            "method": str(self.method),
            "trials": self.trials if self.method is Method.BAYES else None,
            "seed": self.seed,
            "walk_forward": None
            if plan is None
            else {"kind": str(plan.kind), "train_days": plan.train_days, "test_days": plan.test_days},
            "holdout": self.holdout,
            "permutations": self.permutations,
            "chunk_sets": self.chunk_sets,
            "first_day": None if self.first_day is None else self.first_day.isoformat(),
            "last_day": None if self.last_day is None else self.last_day.isoformat(),
        }
        return values | self.space.as_values()

    def fingerprint(self, data: str) -> str:
        """Return the identity of the search on data of this fingerprint: 64 hexadecimal digits."""
        text = json.dumps([FORMAT, data, self.as_values()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_search_file(path: Path) -> dict[str, Any]:
    """Return what a YAML, JSON or TOML (by its ending) search file holds: `vary` and the options of the command line.

    Raises:
        InvalidInputError: If it cannot be read, is no mapping, or holds an unknown key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values: object = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such search file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not isinstance(values.get("vary"), dict):
        raise InvalidInputError(f"{path}: must hold a mapping with `vary`, e.g. vary: {{strategy.k_long: 0.2:1.0:0.1}}")
    known = {"vary", "walk_forward", "train_days", "test_days"} | {field.name for field in fields(SearchRequest)}
    unknown = sorted(str(key) for key in values if key not in known - {"space", "plan"})
    if unknown:
        raise InvalidInputError(f"{path}: no such key: {', '.join(unknown)}")
    return values
