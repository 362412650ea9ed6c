"""Folders of searches made for tests, in the shape in which `breakwater optimize` leaves them."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from breakwater_core.config import BreakwaterConfig

FIRST = date(2023, 11, 20)


def made_series(days: int, seed: int, offset: int = 0) -> dict[str, Any]:
    returns = np.random.default_rng(seed).normal(0.001, 0.02, days)
    dates = [(FIRST + timedelta(days=offset + number)).isoformat() for number in range(days)]
    return {"days": dates, "returns": returns.tolist()}


def made_search(**changes: Any) -> dict[str, Any]:
    """Return a search.json of 9 sets over k and the average's window, with the changes."""
    config = BreakwaterConfig()
    figures = {"total_return": 0.1, "cagr": 0.2, "sharpe": 0.8, "max_drawdown": 0.1, "calmar": 2.0}
    random = np.random.default_rng(3)
    values: dict[str, Any] = {
        "format": 1,
        "fingerprint": "f" * 64,
        "request": {"objective": "sharpe", "method": "grid"},
        "data": {
            "fingerprint": "d" * 64,
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "in_sample": {"first_day": "2023-11-20", "last_day": "2024-02-27", "days": 100},
            "out_of_sample": {"first_day": "2024-02-28", "last_day": "2024-04-07", "days": 40},
        },
        "sets": {"count": 9, "keys": ["strategy.k_long", "strategy.ma_window"]},
        "verdict": {
            "significant": False,
            "sentence": "Not significant: p 0.61 is above 0.05.",
            "checks": [{"name": "days shuffled", "passed": False, "detail": "p 0.61 is above 0.05"}],
        },
        "chosen": {
            "set": 4,
            "version": config.version,
            "values": {"strategy.k_long": 0.5, "strategy.ma_window": 5},
            "config": config.as_values(),
            "in_sample": figures,
            "out_of_sample": figures,
            "trades": 120,
            "fees": 0.12,
            "slippage": 0.03,
            "funding": -0.01,
            "liquidations": 1,
        },
        "in_sample": made_series(100, 1),
        "out_of_sample": made_series(40, 2, offset=100),
        "walk_forward": {
            "kind": "rolling",
            "train_days": 60,
            "test_days": 40,
            "windows": [
                {
                    "train": {"first_day": "2023-11-20", "last_day": "2024-01-18", "days": 60},
                    "test": {"first_day": "2024-01-19", "last_day": "2024-02-27", "days": 40},
                    "set": 4,
                    "values": {"strategy.k_long": 0.5, "strategy.ma_window": 5},
                    "in_sample": figures | {"objective": 0.8},
                    "out_of_sample": figures | {"sharpe": -0.4, "objective": -0.4},
                    "rank": 0.25,
                }
            ],
            "out_of_sample": figures,
            "returns": made_series(40, 5, offset=60),
        },
        "deflated_sharpe": {"probability": 0.41, "tries": 9},
        "overfitting": {"probability": 0.52, "loss_probability": 0.4, "blocks": 16, "ways": 12_870},
        "permutation": _test(random.normal(0, 1, 99).tolist(), 0.2, 0.61),
        "sign_flip": _test(random.normal(0, 0.05, 99).tolist(), 0.03, 0.3),
    }
    return values | changes


def made_results() -> pd.DataFrame:
    """Return the table of the nine sets."""
    rows = [
        {
            "set": 3 * row + column,
            "strategy.k_long": k,
            "strategy.ma_window": window,
            "in_sample_sharpe": 0.1 * row - 0.1 * column,
            "in_sample_objective": 0.1 * row - 0.1 * column,
            "in_sample_cagr": 0.1,
            "in_sample_max_drawdown": 0.2,
            "out_of_sample_sharpe": 0.05 * column,
            "out_of_sample_cagr": -0.1,
            "out_of_sample_max_drawdown": 0.3,
        }
        for row, k in enumerate((0.4, 0.5, 0.6))
        for column, window in enumerate((3, 5, 10))
    ]
    return pd.DataFrame(rows)


def write_search(folder: Path, values: dict[str, Any], results: pd.DataFrame) -> Path:
    """Write the search's files and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "search.json").write_text(json.dumps(values), encoding="utf-8")
    results.to_parquet(folder / "results.parquet")
    return folder


def _test(scores: list[float], observed: float, p_value: float) -> dict[str, Any]:
    return {
        "null": "Days are exchangeable.",
        "seed": 7,
        "count": len(scores),
        "observed": observed,
        "scores": scores,
        "p_value": p_value,
        "level": 0.05,
        "significant": p_value <= 0.05,
    }
