"""Makes the synthetic recording that the replay plays, unless it is there already."""

import os
import sys
from pathlib import Path

from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS
from breakwater_recordings.synthetic_folder import ensure_synthetic
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import exit_code_of, explain


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise InvalidInputError(f"BREAKWATER_{name} must be a whole number, was {os.environ[name]!r}") from None


def main() -> int:
    """Write the recording that the environment describes to the folder of the first argument."""
    try:
        config = read_config(Path(os.environ["CONFIG_FILE"]))
        is_new = ensure_synthetic(
            Path(sys.argv[1]),
            seed=_number("SEED"),
            days=_number("DAYS"),
            trades_per_day=_number("TRADES_PER_DAY"),
            session=config.session.session(),
            symbols=config.portfolio.symbols or DEFAULT_SYMBOLS,
        )
    except BreakwaterError as error:
        sys.stderr.write(f"recording: {explain(error)}\n")
        return exit_code_of(error)
    sys.stdout.write(f"the recording {'has been made' if is_new else 'is there'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
