"""Copying a recording from an object store: whole files, only what is missing, and faults that say what to do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.object_copy import copy_objects, main

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed; it comes with the extra `aws`")
server = pytest.importorskip("moto.server", reason="moto is not installed; it comes with the group `dev`")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An S3 server on this machine; yields its address."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A bucket with two days of a recording and a stranger, reached by the environment that the chart sets."""
    for name, value in {
        "AWS_ENDPOINT_URL": store,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    name = "".join(letter for letter in request.node.name.replace("_", "-")[:60] if letter.isalnum() or letter == "-")
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    for key in ("rec/2025-01-20/BTCUSDT/1.parquet", "rec/2025-01-21/BTCUSDT/1.parquet", "recollections/1.parquet"):
        client.put_object(Bucket=name, Key=key, Body=key.encode())
    client.put_object(Bucket=name, Key="rec/empty-folder/", Body=b"")
    return name


def test_what_stands_below_the_prefix_is_copied(bucket: str, tmp_path: Path) -> None:
    assert copy_objects(f"s3://{bucket}/rec", tmp_path) == 2
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")}
    assert files == {"2025-01-20/BTCUSDT/1.parquet", "2025-01-21/BTCUSDT/1.parquet"}
    assert (tmp_path / "2025-01-20/BTCUSDT/1.parquet").read_bytes() == b"rec/2025-01-20/BTCUSDT/1.parquet"
    assert not list(tmp_path.rglob("*.part"))


def test_a_second_copy_fetches_only_what_changed_or_is_gone(bucket: str, tmp_path: Path) -> None:
    copy_objects(f"s3://{bucket}/rec", tmp_path)
    assert copy_objects(f"s3://{bucket}/rec", tmp_path) == 0
    boto3.client("s3").put_object(Bucket=bucket, Key="rec/2025-01-21/BTCUSDT/1.parquet", Body=b"mended")
    (tmp_path / "2025-01-20/BTCUSDT/1.parquet").unlink()
    assert copy_objects(f"s3://{bucket}/rec", tmp_path) == 2
    assert (tmp_path / "2025-01-21/BTCUSDT/1.parquet").read_bytes() == b"mended"


def test_an_empty_prefix_is_refused(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing stands below"):
        copy_objects(f"s3://{bucket}/reco", tmp_path)


def test_a_key_that_leads_out_of_the_folder_is_refused(bucket: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="bad/../../escaped", Body=b"")
    with pytest.raises(InvalidInputError, match="leads out of the folder"):
        copy_objects(f"s3://{bucket}/bad", tmp_path / "inside")
    assert not (tmp_path / "escaped").exists()


def test_a_bucket_that_is_absent_is_a_missing_dependency(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="could not be copied"):
        copy_objects("s3://no-such-bucket/rec", tmp_path)


def test_the_command_tells_by_its_exit_code_what_failed(bucket: str, tmp_path: Path) -> None:
    assert main([f"s3://{bucket}/rec", str(tmp_path / "made")]) == 0
    assert main(["https://bucket/rec", str(tmp_path)]) == 2
    assert main(["s3://no-such-bucket/rec", str(tmp_path)]) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_missing_dependency(bucket: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DependencyError, match="cannot be written"):
        copy_objects(f"s3://{bucket}/rec", tmp_path / "made")
