"""`make sbom`: a CycloneDX bill of materials of each image, and one of the workspace, from the lock file.

Written to the folder of the second argument as `<image>.cdx.json` and `workspace.cdx.json`; the first is `uv`. The
content depends on the lock file alone: no time of making, and an id derived from the rest.
"""

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

IMAGES = ("market-data", "signal", "executor", "reporter", "notifier", "paper-exchange", "cli")
EXPORTED = [
    "export",
    "--frozen",
    "--no-dev",
    "--format",
    "cyclonedx1.5",
    "--preview-features",
    "sbom-export",
    "--quiet",
]
EXTRAS = ["--package", "breakwater-runtime", "--extra", "aws", "--extra", "tracing"]


def bill(uv: str, name: str, selection: list[str]) -> dict[str, Any]:
    """Return the bill of what the lock file gives for a selection of packages.

    Raises:
        CalledProcessError: If the lock file cannot be read.
    """
    command = [uv, *EXPORTED, *selection]
    exported = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  # our own command
    made: dict[str, Any] = json.loads(exported)
    version = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    del made["metadata"]["timestamp"], made["serialNumber"]
    made["metadata"]["component"] |= {"type": "container" if selection[0] == "--package" else "application"}
    made["metadata"]["component"] |= {"name": f"breakwater/{name}", "version": version}
    made["components"].sort(key=lambda component: component["bom-ref"])
    content = json.dumps(made, sort_keys=True)
    return made | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def main() -> int:
    """Write all bills."""
    uv, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*IMAGES, "workspace"):
        selection = ["--all-packages", "--all-extras"]
        if name != "workspace":
            selection = ["--package", f"breakwater-{name}", *EXTRAS]
        made = bill(uv, name, selection)
        path = folder / f"{name}.cdx.json"
        path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        sys.stdout.write(f"{path}: {len(made['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
