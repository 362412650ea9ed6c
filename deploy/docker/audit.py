"""`make audit`: asks a vulnerability service about every locked package that an image may hold.

The services are asked one after the other until one knows all packages: an audit that leaves some out is none. Exit
codes: 0 nothing is known against any package, 1 something is, 3 no service could tell.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv", "esms")
EXIT_VULNERABLE, EXIT_UNKNOWN = 1, 3
LOCKED = [
    "export",
    "--frozen",
    "--no-dev",
    "--all-packages",
    "--all-extras",
    "--no-emit-workspace",
    "--no-annotate",
    "--no-header",
    "--quiet",
    "-o",
]
ASKED = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--timeout", "20", "--format", "json"]


def findings(answer: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return what is known against packages, and the packages that the service could not tell of."""
    known, untold = [], []
    for package in answer["dependencies"]:
        name = f"{package['name']} {package.get('version', '')}".strip()
        if "skip_reason" in package:
            untold.append(name)
        known += [
            f"{name}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
            for found in package.get("vulns", ())
        ]
    return known, untold


def judge(name: str, output: str, error: str) -> tuple[int | None, str]:
    """Return the exit code that a service's answer means, or None if it tells nothing; and what to say."""
    try:
        known, untold = findings(json.loads(output))
    except ValueError:
        last = error.strip().splitlines()[-1] if error.strip() else "no answer"
        return None, f"audit: {name} does not answer: {last[:200]}"
    if known:
        return EXIT_VULNERABLE, "\n".join((f"audit: {name} knows of", *(f"  {line}" for line in known)))
    if untold:
        return None, f"audit: {name} has no word on {len(untold)} packages, e.g. {untold[0]}"
    return 0, f"audit: {name} knows of nothing against any package"


def main() -> int:
    """Audit the lock file of the working directory with `uv` of the first argument; return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch) / "locked.txt"
        subprocess.run([sys.argv[1], *LOCKED, str(listed)], check=True)  # noqa: S603  # our own command
        for name in SERVICES:
            command = [sys.executable, "-m", "pip_audit", "-r", str(listed), *ASKED, "-s", name]
            asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            code, text = judge(name, asked.stdout, asked.stderr)
            sys.stderr.write(f"{text}\n")
            if code is not None:
                return code
    sys.stderr.write("audit: nobody could be asked about every package; nothing is known, so this is no pass\n")
    return EXIT_UNKNOWN


if __name__ == "__main__":
    sys.exit(main())
