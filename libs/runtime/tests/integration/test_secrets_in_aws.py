"""Secrets in S3 and in Secrets Manager, over HTTP against moto's server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from breakwater_core.errors import BreakwaterError
from breakwater_runtime import secret_sources
from breakwater_runtime.errors import DependencyError, SettingsError
from breakwater_runtime.secret_rotation import Outcome
from breakwater_runtime.secret_sources import LARGEST_BYTES, reference
from breakwater_runtime.settings import ServiceSettings

REGION = "ap-southeast-1"


class ThingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="THING_", frozen=True, extra="forbid")

    token: SecretStr | None = None


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The standard environment of AWS, as a pod has it."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    secret_sources._client.cache_clear()
    yield moto
    secret_sources._client.cache_clear()


@pytest.fixture
def s3(aws: str) -> Any:
    client = boto3.client("s3", region_name=REGION)
    client.create_bucket(Bucket="vault", CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    for entry in client.list_objects_v2(Bucket="vault").get("Contents", []):
        client.delete_object(Bucket="vault", Key=entry["Key"])
    client.delete_bucket(Bucket="vault")


@pytest.fixture
def manager(aws: str) -> Any:
    client = boto3.client("secretsmanager", region_name=REGION)
    yield client
    for entry in client.list_secrets()["SecretList"]:
        client.delete_secret(SecretId=entry["ARN"], ForceDeleteWithoutRecovery=True)


async def test_an_object_in_s3_is_read_and_read_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put_object(Bucket="vault", Key="live/token", Body=b"canary-first\n")
    monkeypatch.setenv("THING_TOKEN_FROM", "s3://vault/live/token")
    settings = ThingSettings.load()
    assert settings.token == SecretStr("canary-first")
    secret, taken = settings.rotating_secret("token"), list[str]()
    assert secret is not None

    async def take(text: str) -> None:
        taken.append(text)

    secret.follow(take)
    assert (await secret.refresh())[0] is Outcome.UNCHANGED
    s3.put_object(Bucket="vault", Key="live/token", Body=b"canary-second\n")
    assert (await secret.refresh())[0] is Outcome.TAKEN
    s3.delete_object(Bucket="vault", Key="live/token")
    outcome, reason = await secret.refresh()
    assert outcome is Outcome.UNREADABLE
    assert "s3://vault/live/token does not exist" in reason
    assert (taken, secret.current) == (["canary-second"], "canary-second")


async def test_a_field_of_an_entry_of_secrets_manager_is_read_and_read_again(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = manager.create_secret(Name="breakwater/live", SecretString=json.dumps({"token": "canary-first"}))["ARN"]
    monkeypatch.setenv("THING_TOKEN_FROM", f"secretsmanager://{arn}#token")
    settings = ThingSettings.load()
    assert settings.token == SecretStr("canary-first")
    secret = settings.rotating_secret("token")
    assert secret is not None

    async def take(_text: str) -> None:
        return

    secret.follow(take)
    manager.put_secret_value(SecretId="breakwater/live", SecretString=json.dumps({"token": "canary-second"}))
    assert (await secret.refresh())[0] is Outcome.TAKEN
    assert secret.current == "canary-second"
    manager.put_secret_value(SecretId="breakwater/live", SecretString='{"token": canary-broken')
    outcome, reason = await secret.refresh()
    assert (outcome, secret.current) == (Outcome.UNREADABLE, "canary-second")
    assert "canary" not in reason


def test_an_entry_by_name_may_be_binary_and_structured(manager: Any) -> None:
    manager.create_secret(Name="breakwater/keys", SecretBinary=b'{"accounts": [{"name": "main"}]}')
    text = reference("X_FROM", "secretsmanager://breakwater/keys#accounts").read()
    assert json.loads(text) == [{"name": "main"}]


@pytest.mark.parametrize(
    "address", ["s3://vault/absent", "s3://no-such-bucket/x", "secretsmanager://absent", "secretsmanager://a b?"]
)
def test_what_is_absent_is_named(s3: Any, address: str) -> None:
    with pytest.raises(BreakwaterError, match="X_FROM") as raised:
        reference("X_FROM", address).read()
    assert address in str(raised.value)


def test_an_object_that_is_too_large_is_refused(s3: Any) -> None:
    s3.put_object(Bucket="vault", Key="large", Body=b"x" * (LARGEST_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than"):
        reference("X_FROM", "s3://vault/large").read()


def test_a_service_that_does_not_answer_is_a_missing_dependency(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(secret_sources, "ATTEMPTS", 1)
    with pytest.raises(DependencyError, match="does not answer"):
        reference("X_FROM", "secretsmanager://x").read()


def test_without_boto3_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['boto3'] = sys.modules['botocore'] = sys.modules['botocore.exceptions'] = None\n"
        "from breakwater_runtime.secret_sources import reference\n"
        "reference('X_FROM', 's3://a/b').read()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "needs boto3: install breakwater-runtime[aws]" in done.stderr


def test_aws_is_not_imported_where_no_secret_is_there() -> None:
    program = "import sys, breakwater_runtime.settings\nassert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
