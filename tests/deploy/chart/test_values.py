"""Wrong values are refused, and the message names the value and says what would be right."""

from typing import Any

import helm_python as helm
import pytest

from tests.deploy.chart.chart import CHART, defaults, merge, render, values_of

LIVE = {"mode": "live", "exchange": {"accounts": {"existingSecret": "bybit"}}}
REPLAY = {"mode": "replay", "recording": {"source": "pvc", "pvc": {"claimName": "rec"}}}
ROLE = "arn:aws:iam::123456789012:role/x"

BY_SCHEMA: list[tuple[dict[str, Any], list[str]]] = [
    ({"mode": "production"}, ["/mode", "'paper', 'replay', 'testnet', 'live'"]),
    ({"mdoe": "live"}, ["'mdoe' not allowed"]),
    ({"signal": {"replica": 2}}, ["/signal", "'replica' not allowed"]),
    ({"signal": {"replicas": -1}}, ["/signal/replicas", "minimum"]),
    ({"signal": {"replicas": "two"}}, ["/signal/replicas", "want integer"]),
    ({"executor": {"drainTimeoutSeconds": 900}}, ["/executor/drainTimeoutSeconds", "maximum: got 900, want 600"]),
    ({"executor": {"settings": {"CONCURENCY": 8}}}, ["/executor/settings", "'CONCURENCY' not allowed"]),
    ({"executor": {"settings": {"NATS_URL": "nats://x"}}}, ["/executor/settings", "'NATS_URL' not allowed"]),
    ({"config": {"strategy": {"klong": 0.5}}}, ["/config/strategy", "'klong' not allowed"]),
    ({"config": {"strategy": {"filter": "up"}}}, ["/config/strategy/filter", "'trend', 'contrarian', 'none'"]),
    ({"config": {"portfolio": {"gross_leverage": 500}}}, ["/config/portfolio/gross_leverage", "want 100"]),
    ({"config": {"session": {"start": 9}}}, ["/config/session/start", "want string"]),
    ({"image": {"digests": {"signal": "latest"}}}, ["/image/digests/signal", "does not match pattern"]),
    ({"image": {"digests": {"ui": "sha256:0"}}}, ["/image/digests", "'ui' not allowed"]),
    ({"image": {"pullPolicy": "Sometimes"}}, ["/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"]),
    ({"egress": {"mode": "nat"}}, ["/egress/mode", "'none', 'cilium', 'natNodeGroup'"]),
    ({"egress": {"expectedIPs": ["office"]}}, ["/egress/expectedIPs/0", "does not match pattern"]),
    ({"egress": {"checkSeconds": 0}}, ["/egress/checkSeconds", "minimum"]),
    ({"database": {"mode": "mysql"}}, ["/database/mode", "'sqlite', 'bundled', 'external'"]),
    ({"database": {"port": 70000}}, ["/database/port", "maximum"]),
    ({"nats": {"url": "nats.example.com"}}, ["/nats/url", "does not match pattern"]),
    ({"nats": {"url": "nats://user:secret@host:4222"}}, ["/nats/url", "does not match pattern"]),
    ({"nats": {"maxFileStore": "ten"}}, ["/nats/maxFileStore", "does not match pattern"]),
    ({"nats": {"setup": {"replicas": 2}}}, ["/nats/setup/replicas", "1, 3, 5"]),
    ({"autoscaling": {"mode": "vpa"}}, ["/autoscaling/mode", "'none', 'keda', 'hpa'"]),
    ({"autoscaling": {"nearTargetRatio": 5}}, ["/autoscaling/nearTargetRatio", "maximum"]),
    ({"slack": {"token": "xoxb-1"}}, ["/slack/token", "want object"]),
    ({"replay": {"runId": "live"}}, ["/replay/runId", "not"]),
    ({"replay": {"start": "20 January"}}, ["/replay/start", "does not match pattern"]),
    ({"replay": {"speed": "fast"}}, ["/replay/speed", "does not match pattern"]),
    ({"recording": {"paths": ["/absolute"]}}, ["/recording/paths/0", "does not match pattern"]),
    ({"aws": {"identity": "root"}}, ["/aws/identity", "'webIdentity'"]),
    ({"networkPolicy": {"exchange": {"cidrs": ["api.bybit.com"]}}}, ["/networkPolicy/exchange/cidrs/0", "pattern"]),
    ({"gracePeriodMarginSeconds": 0}, ["/gracePeriodMarginSeconds", "minimum: got 0, want 5"]),
    ({"externalSecrets": {"refreshInterval": "often"}}, ["/externalSecrets/refreshInterval", "pattern"]),
]

BY_RULE: list[tuple[dict[str, Any], str]] = [
    ({"mode": "live"}, "mode live needs the exchange keys: set exchange.accounts.existingSecret"),
    ({"mode": "testnet"}, "mode testnet needs the exchange keys"),
    ({"exchange": {"accounts": {"existingSecret": "bybit"}}}, "exchange.accounts is for modes testnet and live"),
    ({"exchange": {"restUrl": "https://api.bybit.com"}}, "mode paper trades against the bundled paper exchange"),
    ({"config": {"portfolio": {"symbols": []}}}, "config.portfolio.symbols is empty: name the symbols"),
    ({"config": {"portfolio": {"accounts": []}}}, "config.portfolio.accounts is empty"),
    ({"mode": "replay"}, "mode replay needs a recording: set recording.source"),
    ({"mode": "replay", "recording": {"source": "pvc"}}, "set recording.pvc.claimName"),
    ({"mode": "replay", "recording": {"source": "s3"}}, "set recording.s3.url, e.g. s3://"),
    ({"recording": {"source": "s3", "s3": {"url": "s3://bucket/rec"}}}, "set aws.region, e.g."),
    (REPLAY | {"replay": {"start": "2025-02-01", "end": "2025-01-01"}}, "replay.start 2025-02-01 is after replay.end"),
    (REPLAY | {"marketData": {"replicas": 2}}, "mode replay needs marketData.replicas 1"),
    (REPLAY | {"recorder": {"enabled": True}}, "recorder.enabled is for modes testnet and live"),
    ({"replay": {"runId": "mine"}}, "replay.runId is for mode replay"),
    (
        LIVE | {"recording": {"source": "pvc", "pvc": {"claimName": "rec"}}},
        "to record in mode live set recorder.enabled",
    ),
    (LIVE | {"recorder": {"parity": True}}, "recorder.parity compares with what is recorded"),
    (
        LIVE | {"recorder": {"enabled": True}, "marketData": {"replicas": 2}},
        "two processes must not write one recording",
    ),
    (LIVE | {"egress": {"mode": "cilium"}}, "egress.mode cilium needs egress.expectedIPs"),
    (LIVE | {"egress": {"mode": "cilium", "expectedIPs": ["203.0.113.7"]}}, "needs egress.cilium.nodeSelector"),
    (LIVE | {"egress": {"mode": "natNodeGroup"}}, "egress.mode natNodeGroup needs egress.expectedIPs"),
    ({"egress": {"mode": "natNodeGroup", "expectedIPs": ["203.0.113.7"]}}, "nothing leaves the cluster in mode paper"),
    (
        LIVE | {"egress": {"cilium": {"egressIP": "203.0.113.7", "interface": "eth1"}}},
        "set one of egress.cilium.egressIP and egress.cilium.interface",
    ),
    ({"nats": {"mode": "external"}}, "nats.mode is external: set nats.url, e.g. nats://"),
    ({"nats": {"mode": "external", "url": "nats://n"}}, "set nats.passwords.existingSecret"),
    ({"nats": {"url": "nats://n"}}, "nats.url is for nats.mode external"),
    ({"nats": {"passwords": {"from": "secretsmanager://n"}}}, "the bundled server takes its passwords from a Secret"),
    ({"nats": {"tls": {"enabled": True}}}, "nats.tls.enabled needs nats.tls.serverSecret"),
    ({"nats": {"tls": {"clientSecret": "c"}}}, "nats.tls.clientSecret needs nats.tls.enabled"),
    ({"nats": {"setup": {"replicas": 3}}}, "needs a cluster: nats.mode external"),
    (
        {"nats": {"mode": "external", "url": "tls://n", "passwords": {"existingSecret": "n"}}},
        "nats.url is tls://: set nats.tls.enabled and nats.tls.caSecret",
    ),
    (
        {
            "nats": {
                "mode": "external",
                "url": "nats://n",
                "passwords": {"existingSecret": "n"},
                "tls": {"enabled": True, "caSecret": "ca"},
            }
        },
        "nats.tls.enabled needs tls:// in nats.url",
    ),
    (
        {"nats": {"mode": "external", "url": "nats://n", "passwords": {"from": "secretsmanager://n"}}},
        "nats.passwords.from cannot serve the operator pod",
    ),
    ({"database": {"mode": "external"}}, "database.mode is external: set database.url.existingSecret"),
    ({"database": {"url": {"existingSecret": "rds"}}}, "database.url is for database.mode external, which is sqlite"),
    (
        {"database": {"existingSecret": "books"}},
        "database.existingSecret is for database.mode bundled, which is sqlite",
    ),
    ({"database": {"migrations": "hook"}}, "database.migrations hook runs before the chart's objects exist"),
    ({"reporter": {"replicas": 2}}, "database.mode sqlite needs reporter.replicas 1"),
    ({"slack": {"token": {"existingSecret": "slack"}}}, "slack.token needs slack.channel"),
    (
        {"slack": {"token": {"existingSecret": "slack", "external": {"key": "s"}}, "channel": "C1"}},
        "slack.token has more than one source: keep one of",
    ),
    ({"slack": {"token": {"external": {"key": "s"}}, "channel": "C1"}}, "externalSecrets.store.name"),
    ({"slack": {"token": {"from": "secretsmanager://s"}, "channel": "C1"}}, "set aws.region"),
    ({"externalSecrets": {"store": {"name": "x", "create": True}}}, "set its provider"),
    ({"aws": {"identity": "webIdentity"}}, "aws.identity webIdentity needs aws.roleArn"),
    ({"aws": {"identity": "keys"}}, "aws.identity keys needs aws.existingSecret"),
    ({"autoscaling": {"minReplicas": 9}}, "autoscaling.minReplicas 9 is above autoscaling.maxReplicas 8"),
    ({"autoscaling": {"prometheusUrl": "http://p"}}, "autoscaling.prometheusUrl is for autoscaling.mode keda"),
    (
        {"autoscaling": {"mode": "hpa"}, "executor": {"resources": {"requests": {"cpu": None}}}},
        "autoscaling.mode hpa needs executor.resources.requests.cpu",
    ),
    ({"operator": {"exchangeAccess": True}}, "operator.exchangeAccess is for modes testnet and live"),
    (LIVE | {"operator": {"exchangeAccess": True, "enabled": False}}, "operator.exchangeAccess needs operator.enabled"),
    ({"executor": {"replicas": 0}}, "executor.replicas is 0: exits would not be carried out"),
    ({"signal": {"replicas": 0}}, "signal.replicas is 0: nothing trades without it"),
]


@pytest.mark.parametrize(("values", "said"), BY_SCHEMA, ids=[str(values) for values, _ in BY_SCHEMA])
def test_a_wrong_value_is_named_with_what_would_be_right(values: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(helm.HelmValuesError) as failure:
        render(values)
    for part in said:
        assert part in str(failure.value)


@pytest.mark.parametrize(("values", "said"), BY_RULE, ids=[said for _, said in BY_RULE])
def test_values_that_do_not_go_together_are_refused_with_a_reason(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmRenderError) as failure:
        render(values)
    assert said in str(failure.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(helm.HelmRenderError) as failure:
        render({"mode": "live", "database": {"mode": "external"}, "nats": {"mode": "external"}})
    assert str(failure.value).count("\n  - ") == 4


def test_defaults_alone_are_a_paper_installation() -> None:
    assert values_of("minimal") == {}
    assert defaults()["mode"] == "paper"
    report = helm.lint(str(CHART), merge({}, defaults()), strict=True)
    assert report["errors"] == []
