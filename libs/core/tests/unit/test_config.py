import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError


def test_nothing_given_is_the_strategy_as_designed() -> None:
    config = BreakwaterConfig.parse({})
    assert (config.strategy.ma_window, config.strategy.filter.value, config.strategy.ma_price.value) == (
        5,
        "trend",
        "open",
    )
    assert config.session.session().exit_lead_ms == 30_000
    assert config.portfolio.initial_equity == 100_000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": {"k_lng": 0.5}}, r"strategy\.k_lng: no such key"),
        ({"strateggy": {}}, "strateggy: no such key"),
        ({"strategy": {"k_long": 0}}, r"strategy\.k_long: .*greater than 0 \(was 0\)"),
        ({"strategy": {"k_long": float("nan")}}, r"strategy\.k_long"),
        ({"strategy": {"filter": "trendy"}}, r"strategy\.filter: .*'contrarian'.* \(was 'trendy'\)"),
        ({"strategy": {"stop_loss": 1}}, r"strategy\.stop_loss"),
        ({"session": {"exit_lead": "soon"}}, r"session\.exit_lead: .*\(was 'soon'\)"),
        ({"session": {"timezone": "Mars/Olympus"}}, "no such zone: 'Mars/Olympus'"),
        ({"portfolio": {"symbols": ["A", "A"]}}, r"portfolio\.symbols: an entry stands twice"),
        ({"portfolio": {"symbols": ["BTC.USDT"]}}, r"portfolio\.symbols: .*letters, digits"),
        ({"risk": {"entry_valid_for": -1}}, r"risk\.entry_valid_for"),
        ([], "must be a mapping"),
    ],
)
def test_faults_are_told_by_their_key(values: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        BreakwaterConfig.parse(values)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"k_long.*; .*ma_window"):
        BreakwaterConfig.parse({"strategy": {"k_long": -1, "ma_window": 0}})


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("2m", 120.0), ("1h", 3600.0), ("500ms", 0.5), ("45", 45.0), (20, 20.0)]
)
def test_durations_may_be_written_with_their_unit(text: Any, seconds: float) -> None:
    assert BreakwaterConfig.parse({"session": {"exit_lead": text}}).session.exit_lead == seconds


def test_version_names_the_whole_configuration() -> None:
    usual, again = BreakwaterConfig(), BreakwaterConfig.parse({"strategy": {"k_long": 0.5}})
    other = BreakwaterConfig.parse({"costs": {"latency_ms": 51}})
    assert usual.version == again.version
    assert usual.version != other.version
    assert len(usual.version) == 12


def test_a_key_that_was_added_later_changes_the_version_only_where_it_is_set() -> None:
    before = "9dbcf1cfe897"  # of the defaults, as configurations, intents and orders of earlier releases state it
    assert BreakwaterConfig().version == before
    assert BreakwaterConfig.parse({"costs": {"slippage_range_share": "0.00"}}).version == before
    assert BreakwaterConfig.parse({"costs": {"slippage_range_share": "0.1"}}).version != before
    assert BreakwaterConfig().as_values()["costs"]["slippage_range_share"] == "0"


def test_values_read_back_as_the_same_configuration() -> None:
    config = BreakwaterConfig.parse(
        {
            "strategy": {"stop_loss": 0.03, "noise_days": 20},
            "portfolio": {"symbols": ["BTCUSDT"], "gross_leverage": "1.50"},
            "session": {"start": "09:00", "timezone": "Asia/Seoul", "exit_lead": "2m"},
        }
    )
    again = BreakwaterConfig.parse(json.loads(json.dumps(config.as_values())))
    assert again == config
    assert again.version == config.version
    assert again.portfolio.gross_leverage == Decimal("1.5")


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        BreakwaterConfig().strategy.k_long = 1.0  # type: ignore[misc]  # that it cannot is the point
