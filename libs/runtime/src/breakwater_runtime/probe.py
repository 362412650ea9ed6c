"""Asks a service of this machine whether it is ready: the health check of the images, which have no curl and no shell.

`python -m breakwater_runtime.probe [--path /ready] [--port 8080] [--timeout 3]` ends with 0 if the answer is 200, else
with 1 and the reason on standard error. Only the standard library is used, and the file may be run by its path: that
leaves out the package's own imports, which would cost a quarter of a second at each check.
"""

import argparse
import http.client
import os
import sys

PORT_NAME = "BREAKWATER_PROBE_PORT"
DEFAULT_PORT = 8080
LONGEST_REASON = 500


def probe(*, port: int, path: str = "/ready", timeout_s: float = 3.0) -> str | None:
    """Return why the service on this machine is not well; None if it answers 200.

    Args:
        port: Where it listens.
        path: What is asked for, with the leading slash.
        timeout_s: Limit for connecting and for each pause of the answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(LONGEST_REASON).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from 127.0.0.1:{port}{path} ({type(error).__name__})"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"{answer.status} from {path}: {body}"


def main(arguments: list[str] | None = None) -> int:
    """Probe as the arguments and `BREAKWATER_PROBE_PORT` say; return the exit code."""
    parser = argparse.ArgumentParser(prog="probe", description="Is the service on this machine ready?")
    parser.add_argument("--path", default="/ready", help="what is asked for (/ready)")
    parser.add_argument("--port", type=int, default=os.environ.get(PORT_NAME, DEFAULT_PORT), help="where (8080)")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (3)")
    options = parser.parse_args(arguments)
    reason = probe(port=options.port, path=options.path, timeout_s=options.timeout)
    if reason is not None:
        sys.stderr.write(f"probe: {reason}\n")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
