"""Settings, configuration files, log redaction, readiness."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_runtime.bus import redacted
from breakwater_runtime.config_file import read_config, write_config
from breakwater_runtime.errors import DependencyError, SettingsError, exit_code_of, explain
from breakwater_runtime.health import Health, bind_socket
from breakwater_runtime.logs import redact
from breakwater_runtime.settings import ServiceSettings


class ThingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="THING_", frozen=True, extra="forbid")

    token: SecretStr | None = None


def test_a_misspelt_name_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THING_TOKNE", "x")
    with pytest.raises(SettingsError, match="THING_TOKNE"):
        ThingSettings.load()


def test_an_absurd_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THING_HTTP_PORT", "99999")
    with pytest.raises(SettingsError, match="THING_HTTP_PORT"):
        ThingSettings.load()


def test_a_run_id_that_cannot_be_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THING_RUN_ID", "a b")
    with pytest.raises(InvalidInputError, match="THING_RUN_ID"):
        ThingSettings.load()


def test_a_secret_does_not_show_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THING_TOKEN", "hunter2")
    settings = ThingSettings.load()
    assert "hunter2" not in repr(settings)


def test_a_written_configuration_reads_back_to_the_same_version(tmp_path: Path) -> None:
    config = BreakwaterConfig.parse({"strategy": {"k_long": 0.7}, "portfolio": {"symbols": ["BTCUSDT"]}})
    write_config(config, tmp_path / "config.json")
    assert read_config(tmp_path / "config.json").version == config.version


def test_overrides_reach_every_kind_of_value() -> None:
    config = read_config(
        None,
        [
            "strategy.filter=contrarian",
            "strategy.stop_loss=0.02",
            "strategy.noise_days=none",
            "portfolio.symbols=[BTCUSDT, ETHUSDT]",
            "session.start=09:00",
            "session.exit_lead=45s",
            "costs.taker_fee=0.0006",
        ],
    )
    assert config.strategy.filter == "contrarian"
    assert config.strategy.stop_loss == 0.02
    assert config.strategy.noise_days is None
    assert config.portfolio.symbols == ("BTCUSDT", "ETHUSDT")
    assert config.session.start.hour == 9
    assert config.session.exit_lead == 45
    assert str(config.costs.taker_fee) == "0.0006"


def test_none_is_a_filter_and_elsewhere_means_not_set() -> None:
    config = read_config(None, ["strategy.filter=none", "strategy.stop_loss=none", "risk.daily_loss_stop=none"])
    assert config.strategy.filter == "none"
    assert config.strategy.stop_loss is None
    assert config.risk.daily_loss_stop is None


def test_secrets_are_blanked_by_name_and_in_urls() -> None:
    event = redact(None, "", {"event": "x", "api_key": "k", "url": "postgresql://user:pw@host/db", "side": "buy"})
    assert event == {
        "event": "x",
        "api_key": "[redacted]",
        "url": "postgresql://user:[redacted]@host/db",
        "side": "buy",
    }


def test_an_address_is_shown_without_user_and_password() -> None:
    assert redacted("nats://user:pw@host:4222") == "nats://host:4222"
    assert redacted("nats://host:4222") == "nats://host:4222"


def test_health_is_ready_when_every_condition_holds() -> None:
    health = Health("bus", "database")
    health.hold("bus")
    assert not health.ready
    health.hold("database")
    assert health.ready
    health.fail("bus", "gone")
    assert health.faults == {"bus": "gone"}


def test_a_taken_port_is_a_missing_dependency() -> None:
    with bind_socket("127.0.0.1", 0) as holder, pytest.raises(DependencyError, match="choose another port"):
        bind_socket("127.0.0.1", holder.getsockname()[1])


def test_exit_codes_tell_the_kind_of_failure() -> None:
    assert exit_code_of(DependencyError("x")) == 3
    assert exit_code_of(SettingsError("x")) == 2
    assert exit_code_of(RuntimeError("x")) == 1
    assert explain(RuntimeError("a\n b")) == "RuntimeError: a b"
    assert explain(SettingsError("plain")) == "plain"


def test_an_instance_may_be_named_after_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "executor-7d9f.example")
    monkeypatch.setenv("THING_INSTANCE", "hostname")
    assert ThingSettings.load().instance == "executor-7d9f"
    monkeypatch.setenv("THING_INSTANCE", "b")
    assert ThingSettings.load().instance == "b"
