"""What the environment may say."""

from typing import Any

import pytest

from breakwater_runtime.errors import SettingsError
from market_data_service.settings import MarketDataSettings, Mode

REPLAY = {"MODE": "replay", "RUN_ID": "replay-1", "RECORDINGS": '["a.csv.gz", "BTCUSDT=b.csv"]'}
LIVE = {"MODE": "live"}


def load(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> MarketDataSettings:
    environment = {f"MARKET_DATA_{name}": value for name, value in values.items()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return MarketDataSettings.load()


def test_a_replay_runs_as_fast_as_it_goes_in_lock_step_with_both_parties(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, REPLAY | {"SPEED": "max", "START": "2024-03-01"})
    assert settings.mode is Mode.REPLAY
    assert settings.recordings == ("a.csv.gz", "BTCUSDT=b.csv")
    assert settings.speed is None
    assert settings.lockstep == ("signal", "account")
    assert settings.window_ms is None
    assert str(settings.start) == "2024-03-01"


def test_a_speed_and_a_window_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, REPLAY | {"SPEED": "2.5", "WINDOW_S": "900"})
    assert (settings.speed, settings.window_ms) == (2.5, 900_000)


@pytest.mark.parametrize(
    ("base", "changes", "told"),
    [
        (REPLAY, {"SPEED": "-1"}, "MARKET_DATA_SPEED"),
        (REPLAY, {"SPEED": "inf"}, "MARKET_DATA_SPEED"),
        (REPLAY, {"WINDOW_S": "7"}, "divide 86400"),
        (REPLAY, {"WINDOW_S": "0.5"}, "MARKET_DATA_WINDOW_S"),
        (REPLAY, {"RUN_ID": "live"}, "an id of its own"),
        (REPLAY, {"RECORDINGS": "[]"}, "at least one recording"),
        (REPLAY, {"START": "2024-03-02", "END": "2024-03-01"}, "is after MARKET_DATA_END"),
        (REPLAY, {"LOCKSTEP": '["signal", "signal"]'}, "stands twice"),
        (REPLAY, {"RECORDING": "x"}, "no such setting"),
        (LIVE, {"RUN_ID": "replay-1"}, "must be 'live'"),
        (LIVE, {"RECORDINGS": '["a.csv"]'}, "only a replay reads recordings"),
        (LIVE, {"EXCHANGE_URL": "api.bybit.com"}, "MARKET_DATA_EXCHANGE_URL"),
        (LIVE, {"BACKFILL_LIMIT": "5000"}, "MARKET_DATA_BACKFILL_LIMIT"),
        ({}, {}, "MARKET_DATA_MODE"),
    ],
)
def test_an_absurd_value_is_named(
    monkeypatch: pytest.MonkeyPatch, base: dict[str, str], changes: dict[str, str], told: Any
) -> None:
    with pytest.raises(SettingsError, match=told):
        load(monkeypatch, base | changes)
