"""The environment of every rendered pod is what the services' own settings read: names, values, files."""

import importlib
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_core.config import BreakwaterConfig
from breakwater_runtime.settings import ServiceSettings
from executor_service.settings import ExecutorSettings
from market_data_service.settings import MarketDataSettings
from notifier_service.settings import NotifierSettings
from paper_exchange_service.settings import PaperExchangeSettings
from reporter_service.settings import ReporterSettings
from signal_service.settings import SignalSettings
from tests.deploy.chart.chart import (
    SETS,
    Manifest,
    environment,
    merged,
    of_kind,
    pods_by_component,
    render,
    rendered,
    values_of,
)

SETTINGS: dict[str, type[ServiceSettings]] = {
    "market-data": MarketDataSettings,
    "signal": SignalSettings,
    "executor-order": ExecutorSettings,
    "executor-account": ExecutorSettings,
    "reporter": ReporterSettings,
    "notifier": NotifierSettings,
    "paper-exchange": PaperExchangeSettings,
    "migrate": ReporterSettings,
}
POD = "rel-breakwater-some-pod-7d4b9c5f6d-x2x9q"
ACCOUNTS = json.dumps(
    [{"name": "main", "api_key": "k", "api_secret": "s"}, {"name": "second", "api_key": "l", "api_secret": "s"}]
)
CONTENTS = {
    "accounts.json": ACCOUNTS,
    "url": "postgresql://user:password@host:5432/name",
    "token": "xoxb-1",
    "password": "pw",
}
OTHERS = re.compile("AWS_[A-Z_]+|BREAKWATER_EGRESS_[A-Z_]+")


def is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that loads settings as they would be loaded in a pod, mounted files included."""

    def loaded(settings: type[ServiceSettings], template: Manifest, objects: tuple[Manifest, ...]) -> ServiceSettings:
        for name in list(os.environ):
            if name.startswith((settings.model_config["env_prefix"], "BREAKWATER_", "AWS_")):
                monkeypatch.delenv(name)
        (config,) = [made for made in of_kind(objects, "ConfigMap") if made["metadata"]["name"].endswith("-config")]
        (tmp_path / "config.yaml").write_text(config["data"]["config.yaml"])
        for name, value in environment(template).items():
            monkeypatch.setenv(name, placed(name, POD if isinstance(value, dict) else value, template, tmp_path))
        return settings.load()

    return loaded


def placed(name: str, value: str, template: Manifest, folder: Path) -> str:
    """Return the variable's value with the paths of the pod led to files of this machine."""
    if name.endswith("_CONFIG_FILE"):
        assert value == "/etc/breakwater/config.yaml"
        return str(folder / "config.yaml")
    if name.endswith("_FROM"):
        value = reference_to_file(name, value, folder)
    elif name.endswith("_FILE") and value.startswith("/run/secrets/"):
        value = mounted(value, template, folder)
    return value


def mounted(path: str, template: Manifest, folder: Path) -> str:
    """Return the file that stands for a mounted one, which must be among the pod's mounts."""
    where, file = Path(path).parent, Path(path).name
    (container,) = template["spec"]["containers"]
    (mount,) = [entry for entry in container["volumeMounts"] if entry["mountPath"] == str(where)]
    (volume,) = [entry for entry in template["spec"]["volumes"] if entry["name"] == mount["name"]]
    sources = [volume["secret"]] if "secret" in volume else volume["projected"]["sources"]
    names = [item["path"] for source in sources for item in source.get("items", [source.get("serviceAccountToken")])]
    assert file in names, f"{path} is not mounted"
    target = folder / f"{where.name}-{file}"
    target.write_text(CONTENTS.get(file, "x"))
    return str(target)


def reference_to_file(name: str, value: str, folder: Path) -> str:
    """Return a `file://` reference in place of one to AWS, with the same field."""
    assert re.match("(s3|secretsmanager)://", value)
    content = CONTENTS[
        {"ACCOUNTS": "accounts.json", "URL": "url", "TOKEN": "token", "PASSWORD": "password"}[name.split("_")[-2]]
    ]
    _, mark, field = value.partition("#")
    if mark:
        content = json.dumps({field: content})
    target = folder / name
    target.write_text(content)
    return f"file://{target}{mark}{field}"


@pytest.mark.parametrize("service", SETTINGS)
@pytest.mark.parametrize("name", SETS)
def test_the_service_starts_with_what_its_pod_gives_it(name: str, service: str, load: Any) -> None:
    templates = pods_by_component(rendered(name))
    if service not in templates:
        assert service in {"paper-exchange", "migrate"}
        return
    settings = load(SETTINGS[service], templates[service], rendered(name))
    assert settings.configuration() == BreakwaterConfig.parse(merged(name)["config"]) or service == "migrate"
    if isinstance(settings, ExecutorSettings):
        assert {key.name for key in settings.account_keys()} >= set(settings.configuration().portfolio.accounts)
        assert settings.role.value == service.removeprefix("executor-")
        assert settings.is_event_time == (merged(name)["mode"] == "replay")
    if service != "migrate":
        assert (settings.http_host, settings.http_port, settings.instance) == ("0.0.0.0", 8080, POD)
    foreign = {
        key
        for key in environment(templates[service])
        if not key.startswith(SETTINGS[service].model_config["env_prefix"])
    }
    assert all(OTHERS.fullmatch(key) for key in foreign)


def test_a_misspelt_name_would_be_noticed(load: Any) -> None:
    template = json.loads(json.dumps(pods_by_component(rendered("minimal"))["signal"]))
    template["spec"]["containers"][0]["env"].append({"name": "SIGNAL_QUEUE_LIMITS", "value": "5"})
    with pytest.raises(Exception, match="no such setting: SIGNAL_QUEUE_LIMITS"):
        load(SignalSettings, template, rendered("minimal"))


def test_the_set_up_and_the_operator_are_told_where_the_bus_is() -> None:
    for name in SETS:
        templates = pods_by_component(rendered(name))
        signal = environment(templates["signal"])
        for part, prefix in (("setup", "BUS_SETUP_"), ("operator", "BREAKWATER_")):
            if part not in templates:
                continue
            env = environment(templates[part])
            assert env[f"{prefix}NATS_URL"] == signal["SIGNAL_NATS_URL"]
            assert env[f"{prefix}NATS_USER"] == part
            tls = {key.removeprefix("SIGNAL_"): value for key, value in signal.items() if "_NATS_TLS_" in key}
            assert tls == {key.removeprefix(prefix): value for key, value in env.items() if "_NATS_TLS_" in key}


@pytest.mark.parametrize("name", SETS)
def test_the_set_up_starts_with_what_its_pod_gives_it(name: str, load: Any) -> None:
    settings = importlib.import_module("breakwater_runtime.bus_setup").BusSetupSettings
    loaded = load(settings, pods_by_component(rendered(name))["setup"], rendered(name))
    assert loaded.replicas == merged(name)["nats"]["setup"]["replicas"]


def test_the_same_values_give_executors_and_paper_exchange_the_same_keys(load: Any) -> None:
    """The paper exchange opens the accounts of the configuration by itself; the Secret must hold just their keys."""
    for name in ("minimal", "paper", "replay-pvc"):
        templates = pods_by_component(rendered(name))
        (secret,) = [
            made for made in of_kind(rendered(name), "Secret") if made["metadata"]["name"].endswith("-accounts")
        ]
        given = {
            (row["name"], row["api_key"], row["api_secret"])
            for row in json.loads(secret["stringData"]["accounts.json"])
        }
        exchange = load(PaperExchangeSettings, templates["paper-exchange"], rendered(name))
        opened = exchange.accounts_of(exchange.configuration())
        assert {(account.name, account.key, account.secret.get_secret_value()) for account in opened} == given
        assert {account.usdt for account in opened} == {exchange.configuration().portfolio.initial_equity}


def test_settings_of_the_values_arrive_as_they_were_written(load: Any) -> None:
    template = pods_by_component(rendered("paper"))["paper-exchange"]
    assert environment(template)["PAPER_EXCHANGE_SYNTHETIC_TRADES_PER_DAY"] == "1000000", "not 1e+06"
    values = {"signal": {"settings": {"QUEUE_LIMIT": 5000000, "CHECKPOINT_INTERVAL_S": 0.5}}}
    objects = tuple(render(values))
    settings = load(SignalSettings, pods_by_component(objects)["signal"], objects)
    assert isinstance(settings, SignalSettings)
    assert (settings.queue_limit, settings.checkpoint_interval_s) == (5_000_000, 0.5)


def test_the_chart_offers_no_setting_twice() -> None:
    """A name that the chart sets itself is not among the further settings, and each other name of the service is."""
    schema = json.loads((SETS["minimal"].parents[1] / "values.schema.json").read_text())["properties"]
    sections = {"marketData": "market-data", "signal": "signal", "executor": "executor-order", "reporter": "reporter"}
    sections |= {"notifier": "notifier", "paperExchange": "paper-exchange"}
    for section, service in sections.items():
        offered = set(schema[section]["properties"]["settings"]["properties"])
        prefix = SETTINGS[service].model_config["env_prefix"]
        for name in SETS:
            further = set(values_of(name).get(section, {}).get("settings", {}))
            template = pods_by_component(rendered(name)).get(service)
            used = {key.removeprefix(prefix) for key in environment(template)} if template else set()
            assert not (used - further) & offered


def test_recordings_are_looked_for_where_they_are_mounted(load: Any) -> None:
    for name, service, expected in (
        ("replay-pvc", "market-data", ["/recording"]),
        ("replay-s3", "market-data", ["/recording"]),
        ("paper-recording", "paper-exchange", ["BTCUSDT=/recording/btc.csv.gz"]),
    ):
        template = pods_by_component(rendered(name))[service]
        settings = load(SETTINGS[service], template, rendered(name))
        assert list(settings.recordings) == expected
        mounts = [entry for entry in template["spec"]["containers"][0]["volumeMounts"] if entry["name"] == "recording"]
        assert [entry["mountPath"] for entry in mounts] == ["/recording"]
    (copy,) = pods_by_component(rendered("replay-s3"))["market-data"]["spec"]["initContainers"]
    assert copy["command"][1:] == ["-m", "breakwater_runtime.object_copy", "s3://bucket/recordings", "/recording"]
    assert is_there(copy["command"][2])
    writable = {entry["mountPath"]: entry.get("readOnly", False) for entry in copy["volumeMounts"]}
    assert writable == {"/recording": False, "/tmp": False, "/run/secrets/aws": True}
    assert {"AWS_DEFAULT_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} <= {
        entry["name"] for entry in copy["env"]
    }


def test_every_secret_of_the_settings_can_be_given_by_the_chart_or_has_no_place_in_it() -> None:
    """A new secret setting needs a decision here: a value of the chart, or this list."""
    given = {"nats_password", "accounts", "database_url", "slack_token"}
    elsewhere = {"otlp_headers"}
    for settings in SETTINGS.values():
        secrets = {name for name, field in settings.model_fields.items() if SecretStr in annotations(field.annotation)}
        assert secrets <= given | elsewhere


def annotations(kind: Any) -> set[Any]:
    return {kind, *getattr(kind, "__args__", ())}
