"""What a search leaves in its folder: the table of all sets, what was asked and found, and the chosen set.

    results.parquet    one row per set: `set`, a column per varied key, in-sample and out-of-sample figures, totals
    search.json        request, days, windows, statistics, verdict, chosen set, daily out-of-sample returns
    chosen.yaml        the chosen set, as `breakwater ... --config` reads it

The same request on the same data gives the same files, wherever it was computed.
"""

import io
import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_research.search.chunk_store import write_whole
from breakwater_research.search.figures import figures
from breakwater_research.search.request import FORMAT
from breakwater_research.search.run import SearchOutcome, walk_forward_returns
from breakwater_research.search.walk_forward import WindowChoice

RESULTS: Final = "results.parquet"
SEARCH: Final = "search.json"
CHOSEN: Final = "chosen.yaml"


def write_outcome(outcome: SearchOutcome, folder: Path) -> dict[str, Any]:
    """Write the three files and return what `search.json` holds.

    Raises:
        InvalidInputError: If a file cannot be written.
    """
    values = search_values(outcome)
    buffer = io.BytesIO()
    pq.write_table(results_table(outcome), buffer)
    write_whole(folder / RESULTS, buffer.getvalue())
    write_whole(folder / CHOSEN, chosen_text(outcome).encode())
    write_whole(folder / SEARCH, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())
    return values


def results_table(outcome: SearchOutcome) -> pa.Table:
    """Return one row per set; figures without days to compute them from are null."""
    keys = outcome.request.space.keys
    objective = outcome.request.objective
    columns: dict[str, Any] = {"set": pa.array(range(len(outcome.configs)), pa.int64())}
    nested = [config.as_values() for config in outcome.configs]
    for key in keys:
        columns[key] = _key_column([_cell(values, key) for values in nested])
    for prefix, table in (("in_sample", outcome.inside), ("out_of_sample", outcome.outside)):
        for name in vars(outcome.inside):
            columns[f"{prefix}_{name}"] = _column(None if table is None else getattr(table, name), len(nested))
        columns[f"{prefix}_objective"] = _column(None if table is None else objective.scores(table), len(nested))
    for name, values in outcome.totals.items():
        columns[name] = pa.array(values)
    columns["config_version"] = pa.array([config.version for config in outcome.configs], pa.string())
    return pa.table(columns)


def _column(values: NDArray[np.float64] | None, size: int) -> pa.Array:
    return pa.nulls(size, pa.float64()) if values is None else pa.array(values, pa.float64())


def _key_column(values: list[float | int | str | None]) -> pa.Array:
    if any(isinstance(value, str) for value in values):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if all(isinstance(value, int) for value in values):
        return pa.array(values, pa.int64())
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _cell(nested: dict[str, Any], key: str) -> float | int | str | None:
    """Return the value of `section.name`: decimals as numbers, a universe joined by `+`."""
    section, _, name = key.partition(".")
    value = nested[section][name]
    if isinstance(value, list):
        return "+".join(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    if value is None or isinstance(value, int | float):
        return value
    raise InvalidInputError(f"{key} cannot be varied: {value!r} is no number, word or list of symbols")


def search_values(outcome: SearchOutcome) -> dict[str, Any]:
    """Return what `search.json` holds, as plain values."""
    days, inside = outcome.days, outcome.in_sample
    chosen, request = outcome.chosen, outcome.request
    config = outcome.configs[chosen]
    judged = walk_forward_returns(outcome)
    overfitting = outcome.overfitting
    return {
        "format": FORMAT,
        "fingerprint": request.fingerprint(outcome.data),
        "request": request.as_values(),
        "data": {
            "fingerprint": outcome.data,
            "symbols": list(outcome.symbols),
            "in_sample": _span(days[:inside]),
            "out_of_sample": _span(days[inside:]),
        },
        "sets": {"count": len(outcome.configs), "keys": list(request.space.keys)},
        "verdict": outcome.verdict.as_values(),
        "chosen": {
            "set": chosen,
            "version": config.version,
            "values": key_values(outcome, chosen),
            "config": config.as_values(),
            "in_sample": outcome.inside.row(chosen),
            "out_of_sample": None if outcome.outside is None else outcome.outside.row(chosen),
        }
        | {name: values[chosen].item() for name, values in outcome.totals.items()},
        "in_sample": _series(days[:inside], outcome.returns[chosen, :inside]),
        "out_of_sample": _series(days[inside:], outcome.returns[chosen, inside:]),
        "walk_forward": None
        if request.plan is None
        else {
            "kind": str(request.plan.kind),
            "train_days": request.plan.train_days,
            "test_days": request.plan.test_days,
            "windows": [_window(outcome, choice) for choice in outcome.choices],
            "out_of_sample": figures(judged[None, :]).row(0),
            "returns": _series(days[request.plan.train_days :], judged),
        },
        "deflated_sharpe": asdict(outcome.deflated),
        "overfitting": None
        if overfitting is None
        else {
            "probability": overfitting.probability,
            "loss_probability": overfitting.loss_probability,
            "blocks": overfitting.blocks,
            "ways": len(overfitting.logits),
            "logits": _histogram(overfitting.logits),
        },
        "permutation": None if outcome.shuffled is None else outcome.shuffled.as_values(),
        "sign_flip": outcome.flipped.as_values(),
    }


def chosen_text(outcome: SearchOutcome) -> str:
    """Return the chosen set as YAML, with the verdict above it."""
    config: BreakwaterConfig = outcome.configs[outcome.chosen]
    lines = [
        f"# Set {outcome.chosen} of {len(outcome.configs)}, version {config.version}",
        f"# {outcome.verdict.sentence}",
        yaml.safe_dump(config.as_values(), sort_keys=False),
    ]
    return "\n".join(lines)


def key_values(outcome: SearchOutcome, number: int) -> dict[str, float | int | str | None]:
    """Return what a set has in each varied key; a universe is joined by `+`."""
    nested = outcome.configs[number].as_values()
    return {key: _cell(nested, key) for key in outcome.request.space.keys}


def _window(outcome: SearchOutcome, choice: WindowChoice) -> dict[str, Any]:
    row = outcome.returns[choice.chosen][None, :]
    return {
        "train": _span(outcome.days[choice.window.train]),
        "test": _span(outcome.days[choice.window.test]),
        "set": choice.chosen,
        "values": key_values(outcome, choice.chosen),
        "in_sample": figures(row[:, choice.window.train]).row(0) | {"objective": choice.train_score},
        "out_of_sample": figures(row[:, choice.window.test]).row(0) | {"objective": choice.test_score},
        "rank": choice.rank,
    }


def _span(days: list[date]) -> dict[str, Any] | None:
    if not days:
        return None
    return {"first_day": days[0].isoformat(), "last_day": days[-1].isoformat(), "days": len(days)}


def _series(days: list[date], returns: NDArray[np.float64]) -> dict[str, Any]:
    return {"days": [day.isoformat() for day in days], "returns": returns.tolist()}


def _histogram(values: NDArray[np.float64]) -> dict[str, list[float] | list[int]]:
    counts, edges = np.histogram(values, bins=40)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
