"""Where secrets come from: a file, an object in AWS S3, an entry of AWS Secrets Manager.

A secret is at most 64 KiB of UTF-8 text. Line breaks at its end do not belong to it. No message quotes any of it.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from breakwater_runtime.errors import DependencyError, SettingsError

if TYPE_CHECKING:
    from types import ModuleType

LARGEST_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 5
ATTEMPTS = 3
_FORMS = "s3://BUCKET/KEY, secretsmanager://NAME-OR-ARN or file:///PATH, each with #FIELD for a field of a JSON object"
_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "404", "ResourceNotFoundException"})
_FORBIDDEN = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "403",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
    }
)


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A place that holds a secret.

    Attributes:
        setting: Name of the variable that gives the place, e.g. `EXECUTOR_ACCOUNTS_FROM`.
        place: The place, for people.
        field: Field of a JSON object that is the secret; None: all of the text.
    """

    setting: str
    place: str
    field: str | None
    _fetch: Callable[[], bytes]

    def read(self) -> str:
        """Return the secret as it is now; may block for some seconds.

        Raises:
            SettingsError: If there is none, it may not be read or is malformed.
            DependencyError: If the place does not answer, or boto3 is not installed.
        """
        try:
            return self._of_field(_text_of(self._fetch()))
        except SettingsError as error:
            raise SettingsError(f"{self.setting}: {self.place} {error}") from None  # the causes may quote the content
        except DependencyError as error:
            raise DependencyError(f"{self.setting}: {self.place} {error}") from None

    def _of_field(self, text: str) -> str:
        if self.field is None:
            return text
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise SettingsError(f"holds no JSON object, so it has no field {self.field!r}")
        value = values.get(self.field)
        if value is None:
            raise SettingsError(f"has no field {self.field!r}")
        found = value if isinstance(value, str) else json.dumps(value)
        if not found.strip():
            raise SettingsError(f"has an empty field {self.field!r}")
        return found


def file_reference(setting: str, path: str) -> SecretReference:
    """Return the reference to all of a file, e.g. a mounted Kubernetes Secret."""
    return SecretReference(setting, path, None, lambda: _read_file(Path(path)))


def reference(setting: str, address: str) -> SecretReference:
    """Return what an address such as `s3://bucket/key#field` refers to; nothing is read yet.

    Raises:
        SettingsError: If it is no such address.
    """
    place, separator, field = address.strip().rpartition("#")
    if not separator:
        place, field = field, ""
    elif not field:
        raise SettingsError(f"{setting}: the field's name after # is missing")
    scheme, _, rest = place.partition("://")
    fetch: Callable[[], bytes]
    if scheme == "file" and rest.startswith("/"):
        fetch = _file_fetch(unquote(rest))
    elif scheme == "s3" and all(rest.partition("/")[::2]):
        bucket, _, key = rest.partition("/")
        fetch = _s3_fetch(bucket, key)
    elif scheme == "secretsmanager" and rest:
        fetch = _entry_fetch(rest)
    else:
        raise SettingsError(f"{setting}: must be {_FORMS}")
    return SecretReference(setting, place, field or None, fetch)


def _text_of(content: bytes) -> str:
    if len(content) > LARGEST_BYTES:
        raise SettingsError(f"is larger than {LARGEST_BYTES} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError("is no UTF-8 text") from None
    if not text.strip():
        raise SettingsError("is empty")
    return text.rstrip("\r\n")


# -- files ---------------------------------------------------------------------------------------------------------


def _file_fetch(path: str) -> Callable[[], bytes]:
    return lambda: _read_file(Path(path))


def _read_file(path: Path) -> bytes:
    """Return the file's content. It is opened anew each time, so a link that was moved (Kubernetes) is followed."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            content = file.read(LARGEST_BYTES + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror}); check its path and rights") from None
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise SettingsError("is being written")
    return content


# -- AWS -----------------------------------------------------------------------------------------------------------


def _s3_fetch(bucket: str, key: str) -> Callable[[], bytes]:
    def fetch() -> bytes:
        answer = _ask("s3", lambda client: client.get_object(Bucket=bucket, Key=key))
        content: bytes = _ask("s3", lambda _client: answer["Body"].read(LARGEST_BYTES + 1))
        return content

    return fetch


def _entry_fetch(name: str) -> Callable[[], bytes]:
    def fetch() -> bytes:
        answer = _ask("secretsmanager", lambda client: client.get_secret_value(SecretId=name))
        text, binary = answer.get("SecretString"), answer.get("SecretBinary")
        return text.encode() if isinstance(text, str) else bytes(binary or b"")

    return fetch


def _ask(service: str, call: Callable[[Any], Any]) -> Any:
    exceptions = _botocore()
    try:
        return call(_client(service))
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _ABSENT:
            raise SettingsError(f"does not exist ({code})") from None
        if code in _FORBIDDEN:
            raise SettingsError(f"may not be read ({code}); check the role's policy, see docs/secrets.md") from None
        raise DependencyError(f"cannot be read now ({code or 'no reason given'})") from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise DependencyError("cannot be read: there are no AWS credentials; see docs/secrets.md") from None
    except exceptions.NoRegionError:
        raise SettingsError("needs AWS_REGION") from None
    except (exceptions.ParamValidationError, exceptions.InvalidRegionError):
        raise SettingsError("is no name that AWS takes") from None
    except (exceptions.BotoCoreError, OSError) as error:
        raise DependencyError(f"does not answer ({type(error).__name__})") from None


def _botocore() -> "ModuleType":
    try:
        import botocore.exceptions
    except ImportError:
        raise DependencyError("needs boto3: install breakwater-runtime[aws]") from None
    return botocore.exceptions


@cache
def _client(service: str) -> Any:
    """Return boto3's client; region, endpoint and credentials come from AWS' standard environment."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")  # boto3 looks at the second only
    return boto3.client(service, config=config, region_name=region)  # type: ignore[call-overload]  # no literal
