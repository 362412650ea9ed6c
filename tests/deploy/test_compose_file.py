"""docker-compose.yml, read and not run: hardening, secrets, settings that services know, the order of starting."""

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from breakwater_core.config import BreakwaterConfig
from breakwater_runtime.bus_setup import BusSetupSettings
from breakwater_runtime.config_file import read_config
from breakwater_runtime.settings import ServiceSettings
from executor_service.settings import ExecutorSettings
from market_data_service.settings import MarketDataSettings
from notifier_service.settings import NotifierSettings
from paper_exchange_service.settings import PaperExchangeSettings
from reporter_service.settings import ReporterSettings
from signal_service.settings import SignalSettings
from tests.deploy.compose_file import FILE, ONCE, ROOT, SERVICES, compose, environment, seconds

sys.path.insert(0, str(ROOT / "deploy" / "compose"))
first_secrets = import_module("first_secrets")

SETTINGS: dict[str, type[ServiceSettings]] = {
    "setup": BusSetupSettings,
    "migrate": ReporterSettings,
    "market-data": MarketDataSettings,
    "signal": SignalSettings,
    "executor": ExecutorSettings,
    "executor-account": ExecutorSettings,
    "reporter": ReporterSettings,
    "notifier": NotifierSettings,
    "paper-exchange": PaperExchangeSettings,
}
SECRETS_OF = {"migrate": "reporter", "cli": "operator", "replay": None}
"""Whose folder of secrets a service has, where it is not its own."""
RIGHTS = {"init": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}
AUTHORIZATION = (ROOT / "deploy" / "k8s" / "files" / "authorization.conf").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    first_secrets.prepare(tmp_path, BreakwaterConfig(), AUTHORIZATION, owner=-1)
    return tmp_path


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == RIGHTS.get(name, []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        limits = service["deploy"]["resources"]["limits"]
        assert limits["memory"], name
        assert limits["pids"] <= 256, name
        assert service["logging"]["options"]["max-size"], name
        assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service), name
        assert "docker.sock" not in str(service), name
        assert service.get("user", "") != "0:0" or name == "init"


def test_images_that_are_built_here_are_not_pulled_from_a_stranger(services: dict[str, Any]) -> None:
    """Compose would first ask the public registry for `breakwater/...`, whoever that belongs to."""
    for name, service in services.items():
        ours = service["image"].startswith("breakwater/")
        assert service.get("pull_policy") == ("never" if ours else None), name
        assert ours or "build" not in service, name


def test_an_image_is_built_once_or_the_next_up_would_make_its_containers_anew(services: dict[str, Any]) -> None:
    """Each build gives another id; containers of an earlier one are replaced, the paper exchange with its accounts."""
    started = [service for service in services.values() if "profiles" not in service]
    built = [service["image"] for service in started if "build" in service]
    assert len(built) == len(set(built))
    assert set(built) == {service["image"] for service in started if service["image"].startswith("breakwater/")}


def test_ports_are_published_on_this_machine_alone(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"reporter", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)
    assert set(re.findall(r"\$\{(BREAKWATER_\w+_PORT)", FILE.read_text())) == {
        "BREAKWATER_API_PORT",
        "BREAKWATER_PROMETHEUS_PORT",
        "BREAKWATER_GRAFANA_PORT",
    }


def test_only_reporter_and_migrations_reach_the_database(services: dict[str, Any]) -> None:
    near = {name for name, service in services.items() if "database" in service.get("networks", ())}
    assert near == {"postgres", "migrate", "reporter"}
    assert compose()["networks"]["database"]["internal"] is True


@pytest.mark.parametrize("mode", ["replay", "paper"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_knows_all_its_settings(name: str, mode: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"BREAKWATER_MODE": mode}
    service = compose(values)["services"][name]
    folder = secrets / (SECRETS_OF.get(name) or name)
    mounts = {"/run/secrets": str(folder), "/etc/breakwater/config.yaml": str(ROOT / "deploy/compose/breakwater.yaml")}
    for variable, value in environment(service, values).items():
        for mount, there in mounts.items():
            value = value.replace(mount, there)
        monkeypatch.setenv(variable, value)
    settings = SETTINGS[name].load()
    if name in SERVICES:
        assert settings.run_id == ("replay-1" if mode == "replay" else "live")
        assert settings.configuration().portfolio.symbols
        assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8080)
        assert settings.instance != "hostname"  # each container has its own
        assert seconds(service["stop_grace_period"]) > settings.drain_timeout_s + 5
    if name != "migrate":
        assert settings.nats_user == first_secrets.NATS_USERS[name]
        assert settings.nats_password is not None


def test_no_secret_stands_in_the_file_and_each_is_mounted_by_its_service_alone(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for variable in service.get("environment", {}):
            if re.search(r"PASSWORD|TOKEN|SECRET|ACCOUNTS|DATABASE_URL", variable):
                assert variable.endswith("FILE"), variable
        mounted = [str(volume) for volume in service.get("volumes", ()) if "secrets-" in str(volume)]
        if name != "init":
            owner = SECRETS_OF.get(name, name)
            own = [f"secrets-{owner}:/run/secrets:ro"]
            assert mounted in ([], own), name
            assert mounted or name in {"recording", "prometheus", "replay"}, name
    made = {f"secrets-{folder}:/secrets/{folder}" for folder in (*first_secrets.NATS_USERS, "master", "nats")}
    made |= {f"secrets-{folder}:/secrets/{folder}" for folder in ("postgres", "grafana")}
    assert {volume for volume in services["init"]["volumes"] if "secrets-" in volume} == made


def test_the_users_with_passwords_are_those_with_permissions() -> None:
    permitted = re.findall(r'^\s*user: "([a-z-]+)"', AUTHORIZATION, flags=re.MULTILINE)
    assert sorted(permitted) == sorted(first_secrets.NATS_USERS.values())


def test_what_runs_once_is_waited_for_so_that_up_wait_succeeds(services: dict[str, Any]) -> None:
    """`up --wait` takes an end with exit code 0 for a success only of a service that others wait for so."""
    awaited = {
        needed
        for service in services.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert awaited == set(ONCE)
    for name in ONCE:
        assert services[name]["restart"] == "no"
    for name, service in services.items():
        if name not in (*ONCE, "cli", "replay"):
            assert service["restart"] == "unless-stopped", name
        for needed, how in service.get("depends_on", {}).items():
            assert (needed in ONCE) == (how["condition"] == "service_completed_successfully"), (name, needed)


def test_a_start_needs_neither_grafana_nor_an_image_that_is_not_built_or_public(services: dict[str, Any]) -> None:
    optional = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert optional == {"grafana": ["observability"], "cli": ["tools"], "replay": ["replay"]}
    assert not any(name in service.get("depends_on", {}) for name in optional for service in services.values())
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, flags=re.MULTILINE))
    for name, service in services.items():
        if "build" in service:
            assert service["build"]["target"] in targets, name
            assert service["image"] == f"breakwater/{service['build']['target']}:0.1.0"
        elif not service["image"].startswith("breakwater/"):
            assert name in {"nats", "postgres", "prometheus", "grafana"}


def test_every_file_that_is_mounted_exists(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
            if source.startswith("./") and not source.startswith("./var/"):
                assert (ROOT / source).exists(), f"{name}: {source}"


def test_prometheus_scrapes_every_service() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    jobs = {job["job_name"]: job for job in scraped}
    assert sorted(jobs["breakwater"]["dns_sd_configs"][0]["names"]) == sorted(SERVICES)
    assert jobs["breakwater"]["dns_sd_configs"][0]["port"] == 8080


def test_the_configuration_is_the_default_one_but_for_its_symbols() -> None:
    config = read_config(ROOT / "deploy" / "compose" / "breakwater.yaml")
    symbols = config.portfolio.symbols
    default = BreakwaterConfig()
    assert len(symbols) == 10
    portfolio = default.portfolio.model_copy(update={"symbols": symbols})
    assert config.as_values() == default.model_copy(update={"portfolio": portfolio}).as_values()
