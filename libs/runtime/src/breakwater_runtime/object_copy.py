"""Copies what stands below a prefix of an S3 bucket into a folder: how a recording comes to staging.

`python -m breakwater_runtime.object_copy URL FOLDER`. Files that are there in the object's version are left alone, so a
second run costs a listing; each file appears whole or not at all. Credentials and region are found as boto3 finds them.
"""

import json
import os
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_runtime.errors import DependencyError, exit_code_of, explain
from breakwater_runtime.logs import configure_logs, get_logger

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_COPIED = ".copied.json"
"""File in the folder: ETag of each copied object, by its path."""
_PART = ".part"


def copy_objects(url: str, folder: Path) -> int:
    """Copy the objects below `s3://BUCKET/PREFIX` into the folder and return how many were fetched.

    Raises:
        InvalidInputError: If the URL is none of S3, nothing stands below it, or a key leads out of the folder.
        DependencyError: If the store or the folder cannot be used.
    """
    bucket, prefix = _place_of(url)
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise DependencyError("boto3 is not installed; it comes with the extra `aws` of breakwater-runtime") from error
    try:
        client = boto3.client("s3")
        objects = _objects_below(client, bucket, prefix)
        if not objects:
            raise InvalidInputError(f"nothing stands below {url}; correct the bucket or the prefix")
        return _fetch_all(client, bucket, prefix, objects, folder)
    except (BotoCoreError, ClientError) as error:
        raise DependencyError(f"{url} could not be copied: {error}") from error
    except OSError as error:
        raise DependencyError(f"{folder} cannot be written ({error.strerror}); is it too small?") from error


def _place_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise InvalidInputError(f"must look like s3://BUCKET/PREFIX, was {url!r}")
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""


def _objects_below(client: "S3Client", bucket: str, prefix: str) -> dict[str, str]:
    """Return the ETag of each object below the prefix, by key; names of folders are passed over."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {
        entry["Key"]: entry["ETag"]
        for page in pages
        for entry in page.get("Contents", [])
        if not entry["Key"].endswith("/")
    }


def _fetch_all(client: "S3Client", bucket: str, prefix: str, objects: dict[str, str], folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / _COPIED
    copied: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    fetched = 0
    for key, tag in objects.items():
        path = PurePosixPath(key.removeprefix(prefix))
        if ".." in path.parts or path.is_absolute():
            raise InvalidInputError(f"the key {key!r} leads out of the folder")
        target = folder / path
        if copied.get(str(path)) == tag and target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + _PART)
        client.download_file(bucket, key, str(part))
        os.replace(part, target)  # noqa: PTH105  # the same call, and it says what it does
        copied[str(path)] = tag
        record.write_text(json.dumps(copied))
        fetched += 1
    return fetched


def main(arguments: list[str]) -> int:
    """Copy what the command line names; return the exit code."""
    configure_logs(service="object-copy", run_id="live", instance="0", level="info")
    try:
        if len(arguments) != 2:
            raise InvalidInputError("usage: python -m breakwater_runtime.object_copy s3://BUCKET/PREFIX FOLDER")
        url, folder = arguments
        fetched = copy_objects(url, Path(folder))
    except BreakwaterError as error:
        sys.stderr.write(f"object-copy: {explain(error)}\n")
        return exit_code_of(error)
    get_logger().info("objects_copied", url=url, folder=folder, fetched=fetched)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
