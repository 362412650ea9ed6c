"""Which symbol a file holds, told from its name or from how the user gave it (`SYMBOL=FILE`)."""

import re
from pathlib import Path

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name

_SYMBOL = re.compile(r"(?<![A-Za-z0-9])[A-Z0-9]{2,}(?:USDT|USDC|PERP)(?![A-Za-z])")
_ASSIGNMENT = re.compile(r"([A-Za-z0-9_-]{1,64})=(.+)", re.DOTALL)


def split_source(source: str) -> tuple[str | None, Path]:
    """Return symbol and path of `SYMBOL=FILE`, or None and the path if no symbol stands before it.

    A path that exists as it is written wins over the reading with a symbol.

    Raises:
        InvalidInputError: If the source is empty.
    """
    if not source.strip():
        raise InvalidInputError("a source is empty; give a file, a directory or SYMBOL=FILE")
    assignment = _ASSIGNMENT.fullmatch(source)
    if assignment is None or Path(source).exists():
        return None, Path(source)
    return check_name("symbol", assignment[1]), Path(assignment[2])


def symbol_in_name(path: Path) -> str | None:
    """Return the one symbol that the file's name holds, None if it holds none or several.

    A symbol is a run of capitals and digits that ends in USDT, USDC or PERP: `binance_usdm_BTCUSDT_1m_2023.csv.gz`
    and `BTCUSDT2023-10-10.csv.gz` both hold `BTCUSDT`.
    """
    found = set(_SYMBOL.findall(path.name))
    return found.pop() if len(found) == 1 else None


def symbol_of(path: Path, given: str | None) -> str:
    """Return the symbol of a file that does not state it inside.

    Raises:
        InvalidInputError: If none was given and the name does not hold exactly one.
    """
    symbol = given or symbol_in_name(path)
    if symbol is None:
        raise InvalidInputError(
            f"{path}: the symbol cannot be told from the name; give the source as SYMBOL=FILE, e.g. BTCUSDT={path}"
        )
    return symbol
