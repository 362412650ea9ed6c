"""The study from the command line: candles in, document, graphics, pages and figures out."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_research.study.document import write_document
from breakwater_research.study.findings import verdict
from breakwater_research.study.plan import ASSUMED_COSTS, StudyPlan
from breakwater_research.study.study import Study, run_study
from breakwater_research.study.study_pages import comparison_page, portfolio_page
from breakwater_runtime.config_file import read_config


@dataclass(frozen=True)
class StudyRequest:
    """What a study is asked to do; see `breakwater study --help`.

    Attributes:
        output: Folder for the HTML pages and study.json.
        document: Markdown file; its graphics go to the folder beside it that has its name. None: no document.
        command: How the user can make it again, for the document.
    """

    plan: StudyPlan
    output: Path
    document: Path | None
    command: str
    quiet: bool = False


def make_study(request: StudyRequest) -> dict[str, Any]:
    """Run the study, write its files and return its main figures.

    Raises:
        InvalidInputError: If there are too few candles, or a file cannot be written.
    """
    study = run_study(request.plan, watch=(lambda what: None) if request.quiet else _show)
    figures = study_values(study)
    files = {
        "portfolio.html": portfolio_page(study),
        "study.html": comparison_page(study),
        "study.json": json.dumps(figures, indent=2) + "\n",
    }
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (request.output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{request.output}: cannot be written ({error.strerror}); choose another") from error
    if request.document is not None:
        write_document(study, request.document, command=request.command)
    return figures


def study_config(path: Path | None, overrides: Sequence[str], symbols: str | None) -> BreakwaterConfig:
    """Return the settings that a study starts from: those given, and assumed costs where none were.

    Args:
        path: Configuration file, if any.
        overrides: `section.key=value`.
        symbols: Symbols with commas between; None: those of the configuration.

    Raises:
        InvalidInputError: If a key or a value is wrong.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    assumed = [] if path else [f"{key}={value}" for key, value in ASSUMED_COSTS.items() if key not in given]
    named = [f"portfolio.symbols=[{symbols}]"] if symbols else []
    return read_config(path, [*assumed, *overrides, *named])


def made_by(arguments: Sequence[str]) -> str:
    """Return the command line as a user would type it again."""
    return shlex.join(["breakwater", *arguments])


def study_values(study: Study) -> dict[str, Any]:
    """Return the study's main figures as plain values; what is no number is None."""
    search, answer = study.search, verdict(study.search)
    values: dict[str, Any] = _finite(
        {
            "fingerprint": study.fingerprint,
            "configuration": study.config.as_values(),
            "version": study.config.version,
            "first_day": study.base.series.dates[0].isoformat(),
            "last_day": study.base.series.dates[-1].isoformat(),
            "bars": study.bars,
            "base": study.base.as_values(),
            "held": {"total_return": study.holding.total, "max_drawdown": study.holding.max_drawdown},
            "filters": [one.as_values() for one in study.filters],
            "directions": [one.as_values() for one in study.directions],
            "costs": [one.as_values() for one in study.costs],
            "slippages": [one.as_values() for one in study.slippages],
            "leverages": [one.as_values() for one in study.leverages],
            "walk_forward": {
                "sets": search.tries,
                "windows": len(search.windows),
                "out_of_sample_sharpe": search.out_of_sample.sharpe,
                "out_of_sample_return": search.out_of_sample.total,
                "best_in_hindsight": search.best.as_values(),
                "deflated_sharpe": search.deflated_sharpe,
                "overfitting": search.overfitting,
                "p_values": {one.name: one.p_value for one in search.chance},
            },
            "significant": answer.is_significant,
            "verdict": answer.sentence,
            "reasons": list(answer.reasons),
        }
    )
    return values


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _show(what: str) -> None:
    sys.stderr.write(f"{what}\n")
