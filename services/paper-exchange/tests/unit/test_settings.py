"""The environment and the command line's accounts."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.instruments import instrument_for
from breakwater_recordings.selection import first_prices
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import write_synthetic
from breakwater_runtime.errors import SettingsError
from paper_exchange_service.server import options_of
from paper_exchange_service.settings import Mode, PaperExchangeSettings, parse_account


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> PaperExchangeSettings:
    for name, value in values.items():
        monkeypatch.setenv(f"PAPER_EXCHANGE_{name}", value)
    return PaperExchangeSettings.load()


def test_costs_come_from_the_configuration_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = BreakwaterConfig.parse({"costs": {"latency_ms": 7, "taker_fee": "0.001", "slippage_bps": 2}})
    settings = load(monkeypatch, TAKER_FEE="0.0004", DEPTH_NOTIONAL="50000")
    costs = options_of(settings, config).costs
    assert (costs.latency_ms, costs.taker_fee, costs.slippage_ratio) == (7, Decimal("0.0004"), Decimal("0.0002"))
    assert costs.depth_notional == 50_000


def test_accounts_come_with_keys_of_their_own_or_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = BreakwaterConfig.parse({"portfolio": {"accounts": ["one"], "initial_equity": 5}})
    (default,) = load(monkeypatch).accounts_of(config)
    assert (default.name, default.key, default.secret.get_secret_value(), default.usdt) == (
        "one",
        "paper-key-one",
        "paper-secret-one",
        5,
    )
    (given,) = load(monkeypatch, ACCOUNTS='[{"name": "x", "key": "k", "secret": "s", "usdt": "10"}]').accounts_of(
        config
    )
    assert (given.name, given.key, given.usdt) == ("x", "k", 10)


def test_request_limits_are_on_in_real_time_and_off_in_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of(load(monkeypatch), BreakwaterConfig()).rate_limits
    replay = options_of(load(monkeypatch, MODE="replay"), BreakwaterConfig())
    assert (replay.mode, replay.rate_limits) == (Mode.REPLAY, False)
    assert options_of(load(monkeypatch, RATE_LIMITS="true"), BreakwaterConfig()).rate_limits


def test_a_replay_knows_its_symbols_before_their_first_trade_with_the_rules_that_trade_would_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "MATICUSDT", "NEVERUSDT"]}})
    settings = load(monkeypatch, MODE="replay", REFERENCE_PRICES='{"BTCUSDT": 30000.0, "MATICUSDT": 0.6712}')
    expected = (instrument_for("BTCUSDT", 30_000.0), instrument_for("MATICUSDT", 0.6712))
    assert options_of(settings, config).instruments == expected


def test_an_unknown_name_and_two_accounts_with_one_key_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = '[{"name": "a", "key": "k", "secret": "s"}, {"name": "b", "key": "k", "secret": "s"}]'
    with pytest.raises(SettingsError, match="same key"):
        load(monkeypatch, ACCOUNTS=twice)
    with pytest.raises(SettingsError, match="no such setting"):
        load(monkeypatch, LATENCY="5")


def test_an_account_on_the_command_line_is_key_secret_and_usdt() -> None:
    account = parse_account("key:se:cret:2500", 1)
    assert (account.name, account.key, account.secret.get_secret_value(), account.usdt) == (
        "main",
        "key",
        "se:cret",
        2500,
    )
    for text in ("key", "key:secret", "key:secret:much", ":s:1"):
        with pytest.raises(InvalidInputError, match="KEY:SECRET:USDT"):
            parse_account(text, 1)


def test_recorded_funding_and_a_share_of_the_range_are_charged_as_they_are_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "funding.csv"
    path.write_text("symbol,timestamp,funding_rate\nBTCUSDT,1688428800001,0.0001\nBTCUSDT,1688457600000,-0.0002\n")
    config = BreakwaterConfig.parse({"costs": {"slippage_range_share": "0.2", "funding_rate": "0.0003"}})
    costs = load(monkeypatch, FUNDING_FILE=str(path)).costs_of(config)
    assert costs.slippage_range_share == Decimal("0.2")
    assert list(costs.funding_due("BTCUSDT", 1688428799999, 1688486400000)) == [
        (1688428800000, Decimal("0.0001")),
        (1688457600000, Decimal("-0.0002")),
        (1688486400000, Decimal("0.0003")),
    ]
    settings = load(monkeypatch, SLIPPAGE_RANGE_SHARE="0")
    assert settings.costs_of(config).slippage_range_share == 0
    path.write_text("symbol,timestamp,funding_rate\nBTCUSDT,soon,0.0001\n")
    with pytest.raises(InvalidInputError, match="row 2"):
        load(monkeypatch, FUNDING_FILE=str(path)).costs_of(config)


def test_faults_and_limits_may_be_set_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = '{"seed": 7, "rules": [{"kind": "lost_after", "probability": 0.1}]}'
    path = tmp_path / "faults.json"
    path.write_text(text)
    for given in (text, str(path)):
        options = options_of(load(monkeypatch, FAULTS=given), BreakwaterConfig())
        assert (options.fault_rules.seed, [rule.kind for rule in options.fault_rules.rules]) == (7, ["lost_after"])
    options = options_of(
        load(monkeypatch, ADDRESS_LIMIT="50", ENDPOINT_LIMITS='{"order/create": 20}'), BreakwaterConfig()
    )
    assert (options.address_limit, options.endpoint_limits) == (50, {"order/create": 20})
    for bad, reason in (("{", "no JSON"), ('{"rules": [{"kind": "x"}]}', r"rules\[0\].kind"), ("absent.json", "read")):
        with pytest.raises(InvalidInputError, match=f"^PAPER_EXCHANGE_FAULTS: .*{reason}"):
            options_of(load(monkeypatch, FAULTS=bad), BreakwaterConfig())


def test_in_a_replay_the_recording_tells_the_prices_of_symbols_that_nobody_else_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_synthetic(
        tmp_path,
        seed=1,
        first_day=date(2024, 1, 1),
        days=1,
        trades_per_day_total=2000,
        session=Session(),
        symbols=("BTCUSDT", "NEWUSDT"),
    )
    config = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "NEWUSDT"]}})
    settings = load(monkeypatch, MODE="replay", RECORDINGS=json.dumps([str(tmp_path)]))
    first = first_prices(open_recording([str(tmp_path)], session=Session()))
    rules = {found.symbol: found for found in options_of(settings, config).instruments}
    assert rules == {symbol: instrument_for(symbol, price) for symbol, price in first.items()}
