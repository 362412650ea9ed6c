"""Who reaches whom: computed from the rendered NetworkPolicies, compared with the diagram of docs/architecture.md.

A connection is possible if a rule of a policy of the sender allows it and, where the receiver is a pod of the release,
a rule of a policy of the receiver does too; a pod that no policy selects is open. So Kubernetes defines it.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.deploy.chart.chart import (
    NAMESPACE,
    SETS,
    Manifest,
    component,
    environment,
    merged,
    of_kind,
    pods,
    rendered,
    selects,
)

BUS, DATABASE, HTTP, HTTPS, DNS = 4222, 5432, 8080, 443, 53


@dataclass(frozen=True)
class Place:
    """A pod, or an address outside; labels of a namespace are None outside the cluster."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: dict[str, str] | None = None
    own: bool = False
    address: str = "10.1.2.3"


def pod_elsewhere(namespace: str) -> Place:
    return Place(f"pod in {namespace}", {"app": "some"}, {"kubernetes.io/metadata.name": namespace})


INTERNET = Place("internet", address="93.184.216.34")
OFFICE = Place("private network", address="10.40.7.7")
METADATA = Place("metadata of the node", address="169.254.169.254")
POD_IDENTITY = Place("pod identity agent", address="169.254.170.23")
DNS_SERVER = Place("dns", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
OPENSHIFT_DNS = Place("dns of OpenShift", {}, {"kubernetes.io/metadata.name": "openshift-dns"})
STRANGER, PROMETHEUS, KEDA, INGRESS, NATS_CLUSTER = map(
    pod_elsewhere, ("default", "monitoring", "keda", "ingress", "nats")
)
OUTSIDE = (
    INTERNET, OFFICE, METADATA, POD_IDENTITY, DNS_SERVER, OPENSHIFT_DNS, STRANGER, PROMETHEUS, KEDA, INGRESS,
    NATS_CLUSTER,
)  # fmt: skip
PORTS = (BUS, 4223, DATABASE, 5433, HTTP, HTTPS, 8443, 80, DNS, 5353, 8222, 9000, 4318)


def own_pods(objects: tuple[Manifest, ...]) -> list[Place]:
    return [
        Place(component(template), template["metadata"]["labels"], {"kubernetes.io/metadata.name": NAMESPACE}, own=True)
        for _, template in pods(objects)
    ]


def is_peer(peer: dict[str, Any], place: Place) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(place.address)
        inside = any(address in ipaddress.ip_network(hole) for hole in block.get("except", []))
        return address in ipaddress.ip_network(block["cidr"]) and not inside
    if place.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], place.namespace):
            return False
    elif not place.own:
        return False
    return selects(peer.get("podSelector", {}), place.labels)


def allows(rules: list[dict[str, Any]], side: str, place: Place, port: int) -> bool:
    return any(
        ("ports" not in rule or port in [entry["port"] for entry in rule["ports"]])
        and (side not in rule or any(is_peer(peer, place) for peer in rule[side]))
        for rule in rules
    )


def permits(policies: list[Manifest], direction: str, pod: Place, other: Place, port: int) -> bool:
    mine = [
        policy["spec"]
        for policy in policies
        if selects(policy["spec"]["podSelector"], pod.labels) and direction.title() in policy["spec"]["policyTypes"]
    ]
    side = {"egress": "to", "ingress": "from"}[direction]
    return not mine or any(allows(spec.get(direction, []), side, other, port) for spec in mine)


def connections(objects: tuple[Manifest, ...]) -> set[tuple[str, str, int]]:
    """Return every possible connection: sender, receiver, port."""
    policies, inside = of_kind(objects, "NetworkPolicy"), own_pods(objects)
    found = set()
    for port in PORTS:
        for sender in (*inside, *OUTSIDE):
            for receiver in (*inside, *OUTSIDE):
                if sender is receiver or not (sender.own or receiver.own):
                    continue
                leaves = not sender.own or permits(policies, "egress", sender, receiver, port)
                arrives = not receiver.own or permits(policies, "ingress", receiver, sender, port)
                if leaves and arrives:
                    found.add((sender.name, receiver.name, port))
    return found


SERVICES = ("market-data", "signal", "executor-order", "executor-account", "reporter", "notifier")
TRADERS = ("executor-order", "executor-account")
ANYWHERE = tuple(place.name for place in OUTSIDE)

type Connections = set[tuple[str, str, int]]


def expected(name: str) -> Connections:
    """Return what the diagram allows for these values."""
    own = {place.name for place in own_pods(rendered(name))}
    server, port = (OPENSHIFT_DNS, 5353) if name == "existing-passwords" else (DNS_SERVER, DNS)
    made = {(sender, server.name, port) for sender in own - {"nats", "postgres"}}
    for part in (to_the_bus, to_the_books, to_the_exchange, to_other_services, to_watch):
        made |= {(sender, receiver, port) for sender, receiver, port in part(name) if {sender, receiver} & own}
    return made


def to_the_bus(name: str) -> Connections:
    nats = merged(name)["nats"]
    users = {*SERVICES, "setup", "operator"} & {place.name for place in own_pods(rendered(name))}
    users |= {"paper-exchange"} if merged(name)["mode"] == "replay" else set()
    if nats["mode"] == "bundled":
        return {(sender, "nats", BUS) for sender in users}
    reached = [NATS_CLUSTER.name] if merged(name)["networkPolicy"]["nats"] else ANYWHERE
    return {(sender, receiver, int(nats["url"].rpartition(":")[2])) for sender in users for receiver in reached}


def to_the_books(name: str) -> Connections:
    database = merged(name)["database"]
    keepers = {"reporter", "migrate"} & {place.name for place in own_pods(rendered(name))}
    if database["mode"] == "bundled":
        return {(sender, "postgres", DATABASE) for sender in keepers}
    reached = [OFFICE.name] if merged(name)["networkPolicy"]["database"] else ANYWHERE
    return {
        (sender, receiver, database["port"])
        for sender in keepers
        for receiver in reached
        if database["mode"] == "external"
    }


def to_the_exchange(name: str) -> Connections:
    values = merged(name)
    watchers = () if values["mode"] == "replay" else ("market-data",)
    if values["mode"] in {"paper", "replay"}:
        return {(sender, "paper-exchange", HTTP) for sender in (*TRADERS, *watchers)}
    policy, egress = values["networkPolicy"]["exchange"], values["egress"]
    senders = (*TRADERS, "operator") if values["operator"]["exchangeAccess"] else TRADERS
    made: Connections = set()
    if "0.0.0.0/0" in policy["cidrs"]:
        made |= {(sender, INTERNET.name, port) for sender in (*senders, *watchers) for port in policy["ports"]}
    if egress["expectedIPs"]:
        made |= {(sender, INTERNET.name, 8443 if egress["echoUrl"] else HTTPS) for sender in senders}
    return made


def to_other_services(name: str) -> Connections:
    values = merged(name)
    token = values["slack"]["token"]
    made: Connections = set()
    if token["existingSecret"] or token["from"] or token["external"]["key"]:
        made.add(("notifier", INTERNET.name, HTTPS))
    agents = {METADATA.name, POD_IDENTITY.name}
    for sender in aws_users(name):
        port = 9000 if values["aws"]["endpointUrl"] else HTTPS
        made |= {(sender, receiver, port) for receiver in ANYWHERE if receiver not in agents}
        if values["aws"]["identity"] == "podIdentity":
            made.add((sender, POD_IDENTITY.name, 80))
        if values["aws"]["identity"] == "none":
            made.add((sender, METADATA.name, 80))
    if values["tracing"]["endpoint"]:
        made |= {(sender, PROMETHEUS.name, 4318) for sender in (*SERVICES, "paper-exchange")}
    return made


def to_watch(name: str) -> Connections:
    values = merged(name)
    own = {place.name for place in own_pods(rendered(name))}
    made = {(PROMETHEUS.name, receiver, HTTP) for receiver in {*SERVICES, "paper-exchange"} & own}
    if values["autoscaling"]["mode"] == "keda" and not values["autoscaling"]["prometheusUrl"]:
        made.add((KEDA.name, "signal", HTTP))
    if values["operator"]["enabled"]:
        made.add(("operator", "reporter", HTTP))
    if values["networkPolicy"]["reporterClients"]:
        made.add((INGRESS.name, "reporter", HTTP))
    return made


def aws_users(name: str) -> list[str]:
    """Return who talks to AWS, as their environment says."""
    found = []
    for _, template in pods(rendered(name)):
        containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        names = {entry["name"] for container in containers for entry in container.get("env", [])}
        if "AWS_REGION" in names:
            found.append(component(template))
    return found


@pytest.mark.parametrize("name", [name for name in SETS if merged(name)["networkPolicy"]["enabled"]])
def test_possible_connections_are_those_of_the_diagram(name: str) -> None:
    found, wanted = connections(rendered(name)), expected(name)
    assert sorted(found - wanted) == [], "possible, but not in the diagram"
    assert sorted(wanted - found) == [], "in the diagram, but not possible"


def test_a_pod_of_another_namespace_reaches_nothing() -> None:
    for name in SETS:
        if merged(name)["networkPolicy"]["enabled"]:
            assert not [found for found in connections(rendered(name)) if found[0] in {STRANGER.name, INTERNET.name}]


def test_nobody_but_executors_and_market_data_reaches_the_exchange() -> None:
    """Live without Slack, AWS and operator access: no other pod has any way out."""
    found = {sender for sender, receiver, _ in connections(rendered("cilium")) if receiver == INTERNET.name}
    assert found - {"operator"} == {"market-data", "executor-order", "executor-account"}
    found = {sender for sender, receiver, _ in connections(rendered("replay-pvc")) if receiver == INTERNET.name}
    assert found == set(), "nothing of staging leaves the cluster"


def test_without_policies_everything_is_open_as_the_notes_say() -> None:
    assert of_kind(rendered("no-storage"), "NetworkPolicy") == []


def test_the_monitoring_port_of_the_bus_is_reached_by_nobody() -> None:
    assert not [found for found in connections(rendered("minimal")) if found[2] == 8222]


@pytest.mark.parametrize("name", SETS)
def test_those_who_are_let_to_the_bus_are_those_who_are_told_of_it(name: str) -> None:
    told = {
        component(template)
        for _, template in pods(rendered(name))
        if any(key.endswith("_NATS_URL") for key in environment(template))
    }
    assert told == {sender for sender, _, _ in to_the_bus(name)}
