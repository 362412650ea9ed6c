"""A whole search over small markets: what is chosen, what is judged, what is said, and what is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from made_candles import candle_table

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.sweep import sweep
from breakwater_research.search.chunk_store import ChunkStore
from breakwater_research.search.execution import LocalExecutor, executor_of
from breakwater_research.search.figures import figures
from breakwater_research.search.output import write_outcome
from breakwater_research.search.request import Method, SearchRequest
from breakwater_research.search.run import SearchOutcome, run_search, walk_forward_returns
from breakwater_research.search.shuffled_days import with_days_in_order
from breakwater_research.search.space import SearchSpace, axes_of
from breakwater_research.search.tasks import Arrays, Market, Task
from breakwater_research.search.walk_forward import WalkForwardPlan, WindowKind

FREE = BreakwaterConfig.parse(
    {
        "costs": {"taker_fee": "0", "slippage_bps": "0"},
        "portfolio": {"gross_leverage": "0.5", "initial_equity": "10000"},  # no order is so large that it is split
    }
)
SPACE = SearchSpace(FREE, axes_of(["strategy.k_long,strategy.k_short=0.3,0.6,0.9", "strategy.filter=trend,contrarian"]))


def searched(table: BarTable, folder: Path, **given: Any) -> SearchOutcome:
    settings = {"space": SPACE, "permutations": 19, "plan": WalkForwardPlan(WindowKind.ROLLING, 60, 30)} | given
    request = SearchRequest(**settings)
    market = Market(table)
    store = ChunkStore(folder, request.fingerprint(market.fingerprint))
    with executor_of(market, None) as executor:
        return run_search(market, request, executor=executor, store=store)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> BarTable:
    return candle_table(tmp_path_factory.mktemp("noise"), days=200, seed=21)


@pytest.fixture(scope="module")
def habit(tmp_path_factory: pytest.TempPathFactory) -> BarTable:
    return candle_table(tmp_path_factory.mktemp("habit"), days=400, seed=4, symbols=3, regime_days=20)


@pytest.fixture(scope="module")
def outcome(noise: BarTable, tmp_path_factory: pytest.TempPathFactory) -> SearchOutcome:
    return searched(noise, tmp_path_factory.mktemp("out"))


def test_the_best_of_a_wandering_market_is_called_not_significant(outcome: SearchOutcome) -> None:
    assert outcome.shuffled is not None
    assert outcome.shuffled.p_value > 0.05
    assert not outcome.verdict.is_significant
    assert outcome.verdict.sentence.startswith("Not significant:")


def test_an_edge_that_lies_in_the_order_of_days_is_found(habit: BarTable, tmp_path: Path) -> None:
    space = SearchSpace(FREE, axes_of(["strategy.k_long,strategy.k_short=0.3:0.6:0.1", "strategy.ma_window=3,5"]))
    found = searched(habit, tmp_path, space=space)
    assert found.shuffled is not None
    assert found.shuffled.p_value == 0.05  # better than all nineteen
    assert found.verdict.is_significant, found.verdict.sentence


def test_returns_are_those_of_a_sweep_and_figures_those_of_their_days(outcome: SearchOutcome, noise: BarTable) -> None:
    expected = sweep(noise, [SPACE.config(point) for point in SPACE.points()])
    np.testing.assert_array_equal(outcome.returns, expected.returns)
    np.testing.assert_array_equal(outcome.totals["trades"], expected.trades)
    assert outcome.in_sample == 140
    assert outcome.inside.sharpe.tolist() == figures(expected.returns[:, :140]).sharpe.tolist()
    assert outcome.chosen == int(figures(expected.returns[:, :140]).sharpe.argmax())


def test_bars_of_the_days_that_judge_change_nothing_of_the_choice(
    noise: BarTable, outcome: SearchOutcome, tmp_path: Path
) -> None:

    order = np.arange(200)
    order[140:] = order[140:][::-1]
    other = searched(with_days_in_order(noise, order), tmp_path)
    assert (other.returns[:, 141:] != outcome.returns[:, 141:]).any()
    assert other.chosen == outcome.chosen
    assert other.deflated.probability == pytest.approx(outcome.deflated.probability, abs=1e-9)
    assert other.shuffled is not None
    assert outcome.shuffled is not None
    assert other.shuffled.p_value == outcome.shuffled.p_value
    np.testing.assert_allclose(other.returns[:, :140], outcome.returns[:, :140], atol=1e-9)


def test_the_files_hold_what_the_contract_says(outcome: SearchOutcome, tmp_path: Path) -> None:
    write_outcome(outcome, tmp_path)
    table = pq.read_table(tmp_path / "results.parquet").to_pydict()
    assert table["set"] == list(range(6))
    assert table["strategy.k_long"] == table["strategy.k_short"] == [0.3, 0.3, 0.6, 0.6, 0.9, 0.9]
    assert table["strategy.filter"] == ["trend", "contrarian"] * 3
    assert table["in_sample_sharpe"] == outcome.inside.sharpe.tolist()
    assert outcome.outside is not None
    assert table["out_of_sample_cagr"] == outcome.outside.cagr.tolist()
    assert table["trades"] == outcome.totals["trades"].tolist()
    values = json.loads((tmp_path / "search.json").read_text())
    assert values["verdict"]["significant"] is False
    assert len(values["permutation"]["scores"]) == 19
    assert (
        values["permutation"]["p_value"]
        == (1 + sum(s >= values["permutation"]["observed"] for s in values["permutation"]["scores"])) / 20
    )
    assert len(values["walk_forward"]["windows"]) == 5
    assert values["walk_forward"]["returns"]["returns"] == walk_forward_returns(outcome).tolist()
    assert values["walk_forward"]["returns"]["days"][0] == values["walk_forward"]["windows"][0]["test"]["first_day"]
    assert values["out_of_sample"]["returns"] == outcome.returns[outcome.chosen, 140:].tolist()
    chosen = yaml.safe_load((tmp_path / "chosen.yaml").read_text())
    config = BreakwaterConfig.parse(chosen)
    assert config == BreakwaterConfig.parse(values["chosen"]["config"])
    assert config.version == values["chosen"]["version"] == table["config_version"][outcome.chosen]
    assert config.portfolio.symbols == ("AAAUSDT", "BBBUSDT")


class Counting(LocalExecutor):
    """Counts what is computed."""

    def __init__(self, market: Market) -> None:
        super().__init__(market, 1)
        self.names: list[str] = []

    def submit(self, task: Task) -> Any:
        self.names.append(task.name)
        return super().submit(task)


class InterruptedStore(ChunkStore):
    """Ctrl-C while so many chunks have been written."""

    def __init__(self, folder: Path, fingerprint: str, after: int) -> None:
        super().__init__(folder, fingerprint)
        self._left = after

    def write(self, name: str, arrays: Arrays) -> None:
        super().write(name, arrays)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", [Method.GRID, Method.BAYES])
def test_an_interrupted_search_goes_on_where_it_was_and_gives_the_same_files(
    noise: BarTable, tmp_path: Path, method: Method
) -> None:
    market = Market(noise)
    request = SearchRequest(
        SPACE, chunk_sets=1, permutations=3, method=method, trials=4, plan=WalkForwardPlan(WindowKind.ANCHORED, 100, 50)
    )
    fingerprint = request.fingerprint(market.fingerprint)
    whole, parts = Counting(market), Counting(market)
    expected = write_outcome(
        run_search(market, request, executor=whole, store=ChunkStore(tmp_path / "a", fingerprint)), tmp_path / "a"
    )
    with pytest.raises(KeyboardInterrupt):
        run_search(market, request, executor=parts, store=InterruptedStore(tmp_path / "b", fingerprint, after=3))
    done = len(parts.names)
    again = run_search(market, request, executor=parts, store=ChunkStore(tmp_path / "b", fingerprint))
    assert write_outcome(again, tmp_path / "b") == expected
    assert sorted(set(parts.names)) == sorted(whole.names)
    assert len(parts.names) - len(whole.names) <= 1  # at most one chunk was lost
    assert done >= 3
    for name in ("results.parquet", "search.json", "chosen.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    whole.close()
    parts.close()


def test_days_that_only_judge_do_not_say_which_sets_a_bayesian_search_tries(noise: BarTable, tmp_path: Path) -> None:
    space = SearchSpace(FREE, axes_of(["strategy.k_long=0.2:2.0:0.1", "strategy.ma_window=2:20:1"]))
    plan = WalkForwardPlan(WindowKind.ANCHORED, 60, 70)  # chosen on the first 60, 130 and (in-sample) 140 days
    given = {"space": space, "method": Method.BAYES, "trials": 48, "permutations": 0, "plan": plan}
    found = searched(noise, tmp_path / "a", **given)
    assert 48 <= len(found.configs) <= 3 * 48
    order = np.arange(200)
    order[140:] = order[140:][::-1]
    other = searched(with_days_in_order(noise, order), tmp_path / "b", **given)
    assert (other.returns[:, 140:].sum(axis=1) != found.returns[: len(other.returns), 140:].sum(axis=1)).any()
    assert [config.version for config in other.configs] == [config.version for config in found.configs]
    assert [choice.chosen for choice in other.choices] == [choice.chosen for choice in found.choices]


def test_too_few_days_are_refused(noise: BarTable, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="too few"):
        searched(noise, tmp_path, first_day=noise.days[190], plan=None)


def test_a_symbol_that_is_not_recorded_is_refused(noise: BarTable, tmp_path: Path) -> None:
    space = SearchSpace(FREE, axes_of(["portfolio.symbols=AAAUSDT,XYZUSDT"]))
    with pytest.raises(InvalidInputError, match="XYZUSDT"):
        searched(noise, tmp_path, space=space)
