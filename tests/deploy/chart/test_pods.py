"""What must hold for every pod of every set of values: security, identity, probes, draining, replicas, disruption."""

import math
from typing import Any

import promql_parser
import pytest

from tests.deploy.chart.chart import (
    SETS,
    Manifest,
    component,
    environment,
    merged,
    of_kind,
    pods,
    pods_by_component,
    render,
    rendered,
    selects,
    values_of,
)

SERVICES = {
    "market-data": "marketData",
    "signal": "signal",
    "executor-order": "executor",
    "executor-account": "executorAccount",
    "reporter": "reporter",
    "notifier": "notifier",
    "paper-exchange": "paperExchange",
}
each_set = pytest.mark.parametrize("name", SETS)


def mode(name: str) -> str:
    found: str = merged(name)["mode"]
    return found


def containers(template: Manifest) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


@each_set
def test_every_mode_has_its_services(name: str) -> None:
    expected = set(SERVICES) - (set() if mode(name) in {"paper", "replay"} else {"paper-exchange"})
    others = {"nats", "postgres", "setup", "migrate", "operator"}
    assert set(pods_by_component(rendered(name))) - others == expected


@each_set
def test_pods_meet_the_restricted_security_standard(name: str) -> None:
    for made, template in pods(rendered(name)):
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, made["metadata"]["name"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(template["spec"])
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        for volume in template["spec"]["volumes"]:
            kinds = set(volume) - {"name"}
            assert kinds <= {"configMap", "emptyDir", "secret", "projected", "persistentVolumeClaim"}


@each_set
def test_no_pod_has_a_token_of_the_cluster(name: str) -> None:
    accounts = {made["metadata"]["name"]: made for made in of_kind(rendered(name), "ServiceAccount")}
    for _, template in pods(rendered(name)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert accounts[spec["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"].endswith(component(template)), "each component has an account of its own"
        assert spec["enableServiceLinks"] is False, "Kubernetes must not add names to the environment"
        for volume in spec["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"


@each_set
def test_containers_have_requests_and_a_limit_of_memory(name: str) -> None:
    for _, template in pods(rendered(name)):
        for container in containers(template):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@each_set
def test_what_runs_on_is_watched_by_probes(name: str) -> None:
    for made, template in pods(rendered(name)):
        (container,) = template["spec"]["containers"]
        if made["kind"] == "Job" or component(template) == "operator":
            continue
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            kind = next(key for key in container[probe] if key in {"httpGet", "exec", "tcpSocket"})
            if kind != "exec":
                assert container[probe][kind]["port"] in ports
        if component(template) in SERVICES:
            paths = [
                container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
            ]
            assert paths == ["/health", "/ready", "/health"], "a service that waits for another one must not be killed"
            assert environment(template)[prefix(template) + "HTTP_PORT"] == str(ports["http"])


def prefix(template: Manifest) -> str:
    name = component(template)
    return ("EXECUTOR" if name.startswith("executor-") else name.upper().replace("-", "_")) + "_"


@each_set
def test_the_grace_period_is_longer_than_the_drain(name: str) -> None:
    values = merged(name)
    for service, template in pods_by_component(rendered(name)).items():
        if service not in SERVICES:
            continue
        drain = float(environment(template)[prefix(template) + "DRAIN_TIMEOUT_S"])
        assert drain == values[SERVICES[service]]["drainTimeoutSeconds"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        assert grace == math.ceil(drain) + values["gracePeriodMarginSeconds"]
        assert grace >= drain + 5


@each_set
def test_an_autoscaler_owns_the_number_of_executors_alone(name: str) -> None:
    scaled = merged(name)["autoscaling"]["mode"] != "none"
    scalers = of_kind(rendered(name), "ScaledObject", "HorizontalPodAutoscaler")
    assert len(scalers) == scaled
    for made, template in pods(rendered(name)):
        if made["kind"] == "Job":
            continue
        owned = scaled and component(template) == "executor-order"
        assert ("replicas" in made["spec"]) != owned
        if owned:
            assert scalers[0]["spec"]["scaleTargetRef"]["name"] == made["metadata"]["name"]


@each_set
def test_budgets_never_hold_up_a_node_and_select_one_service_each(name: str) -> None:
    budgets = of_kind(rendered(name), "PodDisruptionBudget")
    templates = pods_by_component(rendered(name))
    assert {component(budget) for budget in budgets} == set(templates) & set(SERVICES)
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in budget["spec"]
        chosen = [
            service
            for service, template in templates.items()
            if selects(budget["spec"]["selector"], template["metadata"]["labels"])
        ]
        assert chosen == [component(budget)]


@each_set
def test_selectors_find_the_pods_of_their_component_and_no_others(name: str) -> None:
    templates = pods_by_component(rendered(name))
    for made in of_kind(rendered(name), "Deployment", "StatefulSet", "Service"):
        selector = made["spec"]["selector"]
        rule = {"matchLabels": selector} if made["kind"] == "Service" else selector
        chosen = [part for part, template in templates.items() if selects(rule, template["metadata"]["labels"])]
        assert chosen == [component(made)], made["metadata"]["name"]
        if made["kind"] == "Service":
            (port,) = made["spec"]["ports"]
            names = [entry["name"] for entry in templates[component(made)]["spec"]["containers"][0]["ports"]]
            assert port["targetPort"] in names


@each_set
def test_replicas_spread_over_nodes_and_zones(name: str) -> None:
    for service, template in pods_by_component(rendered(name)).items():
        if service not in SERVICES:
            continue
        constraints = template["spec"]["topologySpreadConstraints"]
        keys = [constraint["topologyKey"] for constraint in constraints]
        assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        for constraint in constraints:
            assert selects(constraint["labelSelector"], template["metadata"]["labels"])
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway", "one node is enough"


@each_set
def test_only_what_has_one_volume_or_one_state_pauses_for_an_upgrade(name: str) -> None:
    values = merged(name)
    paused = {
        component(made)
        for made in of_kind(rendered(name), "Deployment")
        if made["spec"]["strategy"]["type"] == "Recreate" and component(made) in SERVICES
    }
    expected = set()
    if mode(name) in {"paper", "replay"}:
        expected.add("paper-exchange")
    if mode(name) == "replay" or values["recorder"]["enabled"]:
        expected.add("market-data")
    if values["database"]["mode"] == "sqlite":
        expected.add("reporter")
    assert paused == expected


@each_set
def test_every_mount_has_a_volume_and_the_other_way_round(name: str) -> None:
    for made, template in pods(rendered(name)):
        claims = [claim["metadata"]["name"] for claim in made["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"] for volume in template["spec"]["volumes"]} | set(claims)
        mounted = {mount["name"] for container in containers(template) for mount in container["volumeMounts"]}
        assert mounted == volumes


@each_set
def test_secrets_are_mounted_whole_so_that_a_rotation_arrives(name: str) -> None:
    """The kubelet renews a mounted Secret, but not what is mounted by `subPath`, nor the environment."""
    for _, template in pods(rendered(name)):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for container in containers(template):
            for mount in container["volumeMounts"]:
                if "secret" in volumes.get(mount["name"], {}):
                    assert "subPath" not in mount
                    assert mount["readOnly"] is True
            from_secrets = [entry for entry in container.get("env", []) if "secretKeyRef" in entry.get("valueFrom", {})]
            names = {entry["name"] for entry in from_secrets}
            if component(template) != "nats":
                assert names <= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@each_set
def test_every_secret_and_volume_that_is_used_is_made_or_named(name: str) -> None:
    objects = rendered(name)
    made = {entry["metadata"]["name"] for entry in of_kind(objects, "Secret", "ConfigMap", "PersistentVolumeClaim")}
    made |= {entry["spec"]["target"]["name"] for entry in of_kind(objects, "ExternalSecret")}
    named = set(texts_of(values_of(name)))
    for reference in references(objects):
        assert reference in made | named


def test_a_component_mounts_no_key_of_another_one() -> None:
    for name in SETS:
        for service, template in pods_by_component(rendered(name)).items():
            for volume in template["spec"]["volumes"]:
                if volume["name"] == "secret-nats":
                    assert [item["key"] for item in volume["secret"]["items"]] == [service]
            has_keys = any(volume["name"] == "secret-accounts" for volume in template["spec"]["volumes"])
            assert not has_keys or service.startswith("executor-") or service == "operator"


def texts_of(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for part in node.values() for text in texts_of(part)]
    if isinstance(node, list):
        return [text for part in node for text in texts_of(part)]
    return [node] if isinstance(node, str) else []


def references(objects: tuple[Manifest, ...]) -> set[str]:
    found = set()
    for _, template in pods(objects):
        found |= {entry["name"] for entry in template["spec"].get("imagePullSecrets", [])}
        for volume in template["spec"]["volumes"]:
            found |= {volume["secret"]["secretName"]} if "secret" in volume else set()
            found |= {volume["configMap"]["name"]} if "configMap" in volume else set()
            claim = volume.get("persistentVolumeClaim")
            found |= {claim["claimName"]} if claim else set()
        for container in containers(template):
            for entry in container.get("env", []):
                reference = entry.get("valueFrom", {}).get("secretKeyRef")
                found |= {reference["name"]} if reference else set()
    return found


def test_secrets_that_the_chart_makes_hold_every_key_that_is_mounted() -> None:
    for name in SETS:
        made = {
            entry["metadata"]["name"]: set(entry.get("stringData", {})) | set(entry.get("data", {}))
            for entry in of_kind(rendered(name), "Secret")
        }
        for entry in of_kind(rendered(name), "ExternalSecret"):
            keys = {row["secretKey"] for row in entry["spec"].get("data", [])}
            made[entry["metadata"]["name"]] = keys or None
        for _, template in pods(rendered(name)):
            for volume in template["spec"]["volumes"]:
                secret = volume.get("secret", {})
                keys = made.get(secret.get("secretName"))
                if keys is not None and "items" in secret:
                    assert {item["key"] for item in secret["items"]} <= keys


def test_a_changed_configuration_rolls_the_pods_and_another_value_does_not() -> None:
    def checksums(values: dict[str, Any]) -> set[str]:
        return {
            template["metadata"]["annotations"]["checksum/config"]
            for service, template in pods_by_component(render(values)).items()
            if service in SERVICES
        }

    base, other = checksums({}), checksums({"config": {"strategy": {"k_long": 0.7}}})
    assert len(base) == len(other) == 1
    assert base != other
    assert checksums({"slack": {"linkBase": "https://example.com"}}) == base


def test_the_id_of_a_replay_follows_from_what_its_result_depends_on() -> None:
    def run_id(**over: Any) -> str:
        values = values_of("replay-pvc")
        values["replay"] = values["replay"] | over.pop("replay", {})
        return str(environment(pods_by_component(render(values | over))["signal"])["SIGNAL_RUN_ID"])

    first = run_id()
    assert first.startswith("replay-")
    assert run_id() == run_id(replay={"speed": "max"}) == run_id(executor={"replicas": 5}) == first
    assert len({first, run_id(replay={"attempt": 2}), run_id(replay={"end": "2025-01-25"})}) == 3
    assert run_id(config={"portfolio": {"symbols": ["BTCUSDT"]}}) != first


@each_set
def test_one_run_id_for_all(name: str) -> None:
    found = {
        value
        for template in pods_by_component(rendered(name)).values()
        for key, value in environment(template).items()
        if key.endswith("_RUN_ID")
    }
    assert len(found) == 1
    assert (found == {"live"}) == (mode(name) != "replay")


@each_set
def test_everything_that_reaches_the_exchange_takes_the_fixed_route(name: str) -> None:
    values, templates = merged(name), pods_by_component(rendered(name))
    routed = {"executor-order", "executor-account", "market-data"}
    routed |= {"operator"} if values["operator"]["exchangeAccess"] else set()
    label, value = values["egress"]["natNodeGroup"]["label"], values["egress"]["natNodeGroup"]["value"]
    for part, template in templates.items():
        terms = (
            template["spec"]
            .get("affinity", {})
            .get("nodeAffinity", {})
            .get("requiredDuringSchedulingIgnoredDuringExecution", {})
            .get("nodeSelectorTerms", [])
        )
        tolerated = [entry for entry in template["spec"].get("tolerations", []) if entry["key"] == label]
        is_routed = values["egress"]["mode"] == "natNodeGroup" and part in routed
        assert bool(terms) == bool(tolerated) == is_routed
        if is_routed:
            assert terms == [{"matchExpressions": [{"key": label, "operator": "In", "values": [value]}]}]
            assert tolerated == [{"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"}]
    policies = of_kind(rendered(name), "CiliumEgressGatewayPolicy")
    assert len(policies) == (values["egress"]["mode"] == "cilium")
    for policy in policies:
        chosen = {
            part
            for part, template in templates.items()
            for selector in policy["spec"]["selectors"]
            if selects(
                selector["podSelector"],
                template["metadata"]["labels"] | {"io.kubernetes.pod.namespace": "trading"},
            )
        }
        assert chosen == routed


@each_set
def test_executors_are_told_the_addresses_that_they_must_leave_from(name: str) -> None:
    values, templates = merged(name), pods_by_component(rendered(name))
    for part in ("executor-order", "executor-account"):
        env = environment(templates[part])
        assert env.get("BREAKWATER_EGRESS_EXPECTED_IPS", "") == ",".join(values["egress"]["expectedIPs"])
        assert env.get("BREAKWATER_EGRESS_ECHO_URL", "") == values["egress"]["echoUrl"]


def test_migrations_run_before_the_release_only_where_all_they_need_is_there_before() -> None:
    for name in SETS:
        values, objects = merged(name), rendered(name)
        hooks = [made for made in objects if "helm.sh/hook" in made["metadata"].get("annotations", {})]
        jobs = of_kind(hooks, "Job")
        reporter = environment(pods_by_component(objects)["reporter"])
        assert reporter["REPORTER_MIGRATE"] == ("false" if jobs else "true")
        url = values["database"]["url"]
        there_before = values["database"]["mode"] == "external" and bool(url["existingSecret"] or url["from"])
        assert bool(jobs) == (there_before and values["database"]["migrations"] != "reporter")
        needed = of_kind(objects, "Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim", "ExternalSecret")
        plain = {made["metadata"]["name"] for made in needed if made not in hooks}
        if jobs and values["networkPolicy"]["enabled"]:
            allowed = [made for made in of_kind(hooks, "NetworkPolicy") if component(made) == "migrate"]
            assert len(allowed) == 1, "an earlier release denies whatever it does not know"
        for job in jobs:
            spec = job["spec"]["template"]["spec"]
            names = references((job,)) | {spec["serviceAccountName"]}
            assert not names & plain, "a hook must not wait for what comes after it"
            accounts = of_kind(hooks, "ServiceAccount", "NetworkPolicy")
            weights = [int(made["metadata"]["annotations"]["helm.sh/hook-weight"]) for made in (*accounts, job)]
            assert weights == sorted(weights)


def test_the_set_up_of_the_bus_is_no_hook_and_runs_anew_with_each_revision() -> None:
    for name in SETS:
        (job,) = [made for made in of_kind(rendered(name), "Job") if component(made) == "setup"]
        assert "annotations" not in job["metadata"]
        assert "-setup-1-" in job["metadata"]["name"]
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
        assert job["spec"]["ttlSecondsAfterFinished"] >= 60
    one, other = (
        next(made["metadata"]["name"] for made in of_kind(render(values), "Job"))
        for values in ({}, {"image": {"tag": "0.2.0"}})
    )
    assert one != other, "a Job cannot be changed, so what it does is part of its name"


def test_images_are_those_of_the_values() -> None:
    images = {
        part: template["spec"]["containers"][0]["image"]
        for part, template in pods_by_component(rendered("paper")).items()
    }
    home = "registry.example.com:5000/desk/breakwater"
    assert images["executor-order"] == images["executor-account"] == f"{home}/executor:0.1.0"
    assert images["signal"] == f"{home}/signal@sha256:" + "0123456789abcdef" * 4
    assert images["operator"] == f"{home}/cli:0.1.0"
    assert images["nats"] == "nats:2.12-alpine"
    defaults = {template["spec"]["containers"][0]["image"] for _, template in pods(rendered("minimal"))}
    assert "breakwater/market-data:0.1.0" in defaults


@pytest.mark.parametrize(
    ("image", "ours", "others"),
    [
        ({}, "Never", "IfNotPresent"),
        ({"registry": "registry.example.com"}, "IfNotPresent", "IfNotPresent"),
        ({"repositoryPrefix": "registry.example.com/desk"}, "IfNotPresent", "IfNotPresent"),
        ({"pullPolicy": "Always"}, "Always", "Always"),
    ],
)
def test_our_images_are_pulled_only_where_it_is_said_whose_they_are(
    image: dict[str, str], ours: str, others: str
) -> None:
    """`breakwater/executor` of a public registry may be anybody's, and it would be given the exchange keys."""
    made = render({"image": image, "database": {"mode": "bundled"}})
    policies: dict[bool, set[str]] = {True: set(), False: set()}
    for _, template in pods(made):
        for container in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]:
            is_public = container["image"].startswith(("nats:", "postgres:"))
            policies[is_public].add(container["imagePullPolicy"])
    assert policies == {False: {ours}, True: {others}}


def test_keda_asks_signal_and_scales_up_at_once_and_down_slowly() -> None:
    (scaler,) = of_kind(rendered("live"), "ScaledObject")
    spec = scaler["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 6)
    addresses = {trigger["metadata"]["url"] for trigger in spec["triggers"]}
    assert addresses == {"http://rel-breakwater-signal.trading.svc:8080/scaling"}
    locations = {trigger["metadata"]["valueLocation"] for trigger in spec["triggers"]}
    assert locations == {"intents_waiting", "symbols_near_target", "exits_due"}
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 600
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    (by_prometheus,) = of_kind(rendered("keda-prometheus"), "ScaledObject")
    queries = {trigger["metadata"]["query"] for trigger in by_prometheus["spec"]["triggers"]}
    polled = 'time() - breakwater_signal_intents_polled_timestamp_seconds{namespace="trading"}'
    assert queries == {
        f'max(breakwater_signal_{metric}{{namespace="trading"}} and on (instance) {polled} < 120)'
        for metric in ("intents_waiting", "symbols_near_target", "exits_due")
    }, "gauges that nobody has renewed do not count"
    for query in queries:
        promql_parser.parse(query)
    empty = {trigger["metadata"]["ignoreNullValues"] for trigger in by_prometheus["spec"]["triggers"]}
    assert empty == {"false"}, "no answer would count as zero, and the fallback would never hold"
    (fallback,) = of_kind(rendered("hpa"), "HorizontalPodAutoscaler")
    assert fallback["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70


def test_every_service_is_scraped_under_its_own_name() -> None:
    for name in SETS:
        for monitor in of_kind(rendered(name), "PodMonitor", "ServiceMonitor"):
            templates = pods_by_component(rendered(name))
            chosen = {
                part
                for part, made in templates.items()
                if selects(monitor["spec"]["selector"], made["metadata"]["labels"])
            }
            assert chosen == set(templates) & set(SERVICES)
            (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
            assert {"targetLabel": "job", "replacement": "breakwater"} in endpoint["relabelings"]
            assert {"job", "service", "instance"} == {rule["targetLabel"] for rule in endpoint["relabelings"]}


@pytest.mark.parametrize(
    "release", ["b", "my.release", "breakwater", "a-very-long-release-name-that-goes-on-and-on-and-on"]
)
def test_names_fit_whatever_the_release_is_called(release: str) -> None:
    """The pod's name becomes the instance's name, which may have 64 letters, digits, `-` and `_`."""
    for made in render({}, release=release):
        name = made["metadata"]["name"]
        assert len(name) <= 63
        assert name.replace("-", "").isalnum(), name
        assert name.startswith(release[:1])
