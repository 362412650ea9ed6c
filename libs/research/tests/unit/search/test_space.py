"""What varies: ranges, lists, universes, keys that move together; and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_research.search.request import SearchRequest, read_search_file
from breakwater_research.search.space import Axis, SearchSpace, axes_of

BASE = BreakwaterConfig()


def space(*texts: str) -> SearchSpace:
    return SearchSpace(BASE, axes_of(texts))


def test_a_range_counts_in_decimals_and_includes_its_end() -> None:
    assert Axis.parse("strategy.k_long=0.2:1.0:0.1").values == (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 40))
def test_a_range_has_every_step_once(first: int, step: int, count: int) -> None:
    text = f"strategy.k_long={first / 100}:{(first + step * (count - 1)) / 100}:{step / 100}"
    assert list(Axis.parse(text).values) == [(first + step * number) / 100 for number in range(count)]


def test_every_option_of_the_strategy_leverage_and_universe_can_vary() -> None:
    found = space(
        "strategy.k_long=0.4,0.6",
        "strategy.k_short=0.4,0.6",
        "strategy.ma_window=3:5:1",
        "strategy.ma_price=open,close",
        "strategy.filter=trend,contrarian,none",
        "strategy.stop_loss=none,0.02",
        "strategy.noise_days=none,10",
        "portfolio.gross_leverage=1:2:0.5",
        "portfolio.symbols=BTCUSDT+ETHUSDT,all",
    )
    assert found.size == 2 * 2 * 3 * 2 * 3 * 2 * 2 * 3 * 2
    config = found.config((1, 0, 2, 1, 1, 1, 1, 1, 0))
    strategy, portfolio = config.strategy, config.portfolio
    assert (strategy.k_long, strategy.k_short, strategy.ma_window) == (0.6, 0.4, 5)
    assert (strategy.ma_price, strategy.filter) == ("close", "contrarian")
    assert (strategy.stop_loss, strategy.noise_days) == (0.02, 10)
    assert (str(portfolio.gross_leverage), portfolio.symbols) == ("1.5", ("BTCUSDT", "ETHUSDT"))
    first = found.config((0,) * 9)
    assert (first.strategy.stop_loss, first.strategy.noise_days) == (None, None)
    assert found.config((0,) * 8 + (1,)).portfolio.symbols == ()
    assert found.config((0, 0, 0, 0, 2, 0, 0, 0, 0)).strategy.filter == "none"


def test_keys_may_move_together() -> None:
    found = space("strategy.k_long,strategy.k_short=0.3,0.7")
    assert [found.config(point).strategy.k_short for point in found.points()] == [0.3, 0.7]
    assert found.keys == ("strategy.k_long", "strategy.k_short")


def test_everything_that_does_not_vary_is_the_base() -> None:
    base = BreakwaterConfig.parse({"costs": {"taker_fee": "0.001"}, "strategy": {"ma_window": 9}})
    found = SearchSpace(base, axes_of(["strategy.k_long=0.3"])).config((0,))
    expected = base.as_values()
    expected["strategy"]["k_long"] = 0.3
    assert found == BreakwaterConfig.parse(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strategy.k_long", "section.key=values"),
        ("k_long=0.1", "section.key"),
        ("strategy.k=0.1", "strategy.k: no such key"),
        ("strategy.k_long=0:1:0.5", "greater than 0"),
        ("strategy.k_long=1:0.5:0.1", "from:to:step"),
        ("strategy.k_long=0.1:1:0", "from:to:step"),
        ("strategy.k_long=0.1:nan:0.1", "from:to:step"),
        ("strategy.k_long=0.1:1", "from:to:step"),
        ("strategy.k_long=0.1:1:0.00001", "more than"),
        ("strategy.k_long=0.1,0.10", "twice"),
        ("strategy.k_long=", "number or a word"),
        ("session.start=00:00:01", "session"),
    ],
)
def test_a_wrong_axis_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        space(text)


def test_a_key_varies_once_and_something_varies() -> None:
    with pytest.raises(InvalidInputError, match="varies twice"):
        space("strategy.k_long=0.1,0.2", "strategy.k_long,strategy.k_short=0.3,0.4")
    with pytest.raises(InvalidInputError, match="nothing varies"):
        space()


def test_a_search_file_reads_the_same_as_yaml_and_toml(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "vary:\n  strategy.k_long: 0.2:0.4:0.1\n  portfolio.symbols: [[BTCUSDT, ETHUSDT], all]\n"
        "  strategy.stop_loss: [null, 0.02]\nobjective: calmar\n"
    )
    (tmp_path / "a.toml").write_text(
        'objective = "calmar"\n[vary]\n"strategy.k_long" = "0.2:0.4:0.1"\n'
        '"portfolio.symbols" = ["BTCUSDT+ETHUSDT", "all"]\n"strategy.stop_loss" = ["none", 0.02]\n'
    )
    read = [read_search_file(tmp_path / name) for name in ("a.yaml", "a.toml")]
    spaces = [SearchSpace(BASE, axes_of((), values["vary"])) for values in read]
    configs = [[one.config(point) for point in one.points()] for one in spaces]
    assert configs[0] == configs[1]
    assert len(configs[0]) == 12


def test_the_command_line_goes_before_the_file() -> None:
    axes = axes_of(["strategy.k_long=0.9"], {"strategy.k_long": "0.1:0.5:0.1", "strategy.ma_window": [3, 5]})
    assert [axis.values for axis in axes] == [(0.9,), (3, 5)]


@pytest.mark.parametrize("text", ["[]", "vary: 3", "vary: {strategy.k_long: 0.5}\nobjectve: x", "a: ["])
def test_a_wrong_search_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InvalidInputError, match=r"a\.yaml"):
        read_search_file(tmp_path / "a.yaml")


def test_another_request_or_other_data_is_another_search() -> None:
    one = SearchRequest(space("strategy.k_long=0.1,0.2"))
    others = [SearchRequest(space("strategy.k_long=0.1,0.3")), SearchRequest(one.space, seed=8)]
    assert len({one.fingerprint("x"), one.fingerprint("y"), *(other.fingerprint("x") for other in others)}) == 4
    assert one.fingerprint("x") == SearchRequest(space("strategy.k_long=0.1:0.2:0.1")).fingerprint("x")


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"holdout": 0.95}, {"permutations": -1}, {"chunk_sets": 0}])
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        SearchRequest(space("strategy.k_long=0.1"), **wrong)
