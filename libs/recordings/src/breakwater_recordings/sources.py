"""Opening a recording: from files, folders and `SYMBOL=FILE` to one `Recording`.

Read are Bybit's trade archive, candles (both as .csv or .csv.gz), own Parquet recordings and fetched candles; see
`trade_archive`, `klines`, `parquet_file` and `candle_file` for what each of them looks like.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.candle_file import is_candle_file, read_candle_file
from breakwater_recordings.csv_tables import CsvHeader, read_header, row_fault
from breakwater_recordings.file_symbols import split_source
from breakwater_recordings.klines import is_kline_file, read_klines
from breakwater_recordings.parquet_file import SUFFIX, read_trade_file
from breakwater_recordings.parts import DEFAULT_MAX_SILENCE_MS, RecordedPart
from breakwater_recordings.recording import Recording
from breakwater_recordings.trade_archive import REQUIRED_COLUMNS, is_trade_archive, read_trade_archive, stated_symbol

_CSV_SUFFIXES = (".csv", ".csv.gz")


def open_recording(
    sources: Sequence[str],
    *,
    session: Session,
    symbols: Sequence[str] | None = None,
    max_silence_ms: int = DEFAULT_MAX_SILENCE_MS,
) -> Recording:
    """Return the recording that the sources make up.

    CSV files are read and checked as a whole here, so that a fault in their last row shows before anything is traded
    on the first; of Parquet files only the footer is, their trades are checked while they are read.

    Args:
        sources: Files, folders (every Parquet and CSV file beneath) or `SYMBOL=FILE`.
        session: Defines the days.
        symbols: Symbols to keep; None keeps all.
        max_silence_ms: Longest pause between two trades that counts as covered in trade archives that are not
            named by a day.

    Raises:
        InvalidInputError: If a source does not exist, has an unknown format or bad contents, files overlap, or no file
            holds a wanted symbol. The message is one line and names file, row and remedy.
    """
    wanted = None if symbols is None else frozenset(symbols)
    if max_silence_ms < 0:
        raise InvalidInputError(f"max_silence_ms must not be negative, was {max_silence_ms}")
    if not sources:
        raise InvalidInputError("no source was given; give a file, a folder or SYMBOL=FILE")
    parts: list[RecordedPart] = []
    held: set[str] = set()
    for given_symbol, path in files_of(sources):
        found, symbols_of_file = read_parts(path, given_symbol, wanted, max_silence_ms)
        parts += found
        held |= symbols_of_file
    absent = sorted((wanted or frozenset()) - held)
    if absent:
        raise InvalidInputError(
            f"no source holds {', '.join(absent)}; they hold {', '.join(sorted(held)) or 'nothing'}: add a file or "
            "take the symbol off the list"
        )
    return Recording(parts, session=session, max_silence_ms=max_silence_ms)


def files_of(sources: Sequence[str]) -> Iterator[tuple[str | None, Path]]:
    """Yield the sources' files, those of folders sorted, each with the symbol that was given for it.

    Raises:
        InvalidInputError: If a source does not exist, or is a folder without recordings or with a symbol.
    """
    for source in sources:
        symbol, path = split_source(source)
        if path.is_dir():
            if symbol is not None:
                raise InvalidInputError(f"{source}: {path} is a folder; give SYMBOL= with a file, or the folder alone")
            yield from ((None, file) for file in _files_beneath(path))
        elif path.is_file():
            yield symbol, path
        else:
            raise InvalidInputError(f"{source}: no such file or folder; check the path")


def _files_beneath(folder: Path) -> list[Path]:
    """Return the folder's Parquet and CSV files, sorted; hidden ones are unfinished and left out."""
    suffixes = (SUFFIX, *_CSV_SUFFIXES)
    found = sorted(path for path in folder.rglob("*") if path.name.endswith(suffixes) and path.name[0] != ".")
    if not found:
        raise InvalidInputError(f"{folder}: no recording beneath; it must hold {', '.join(suffixes)} files")
    return found


def read_parts(
    path: Path, given_symbol: str | None, wanted: frozenset[str] | None, max_silence_ms: int
) -> tuple[list[RecordedPart], set[str]]:
    """Return the file's wanted parts and all symbols that it holds.

    Args:
        path: The file.
        given_symbol: Symbol that the user gave for it, if any.
        wanted: Symbols to read; None for all.
        max_silence_ms: As of `open_recording`.

    Raises:
        InvalidInputError: If the file has an unknown format or bad contents.
    """
    if path.name.endswith(SUFFIX):
        part = read_candle_file(path) if is_candle_file(path) else read_trade_file(path)
        if given_symbol not in {None, part.symbol}:
            raise InvalidInputError(f"{path}: holds {part.symbol}, not {given_symbol}; give the file without SYMBOL=")
        return _chosen(part, wanted)
    if not path.name.endswith(_CSV_SUFFIXES):
        raise InvalidInputError(f"{path}: unknown type of file; give .csv, .csv.gz or {SUFFIX}")
    header = read_header(path)
    if is_trade_archive(header):
        symbol = given_symbol or stated_symbol(header)
        if symbol is not None and wanted is not None and symbol not in wanted:
            return [], {symbol}
        return _chosen(read_trade_archive(header, given_symbol=given_symbol, max_silence_ms=max_silence_ms), wanted)
    if is_kline_file(header):
        return read_klines(header, given_symbol=given_symbol, wanted=wanted)
    raise _unknown_format(header)


def _chosen(part: RecordedPart, wanted: frozenset[str] | None) -> tuple[list[RecordedPart], set[str]]:
    return ([part] if wanted is None or part.symbol in wanted else []), {part.symbol}


def _unknown_format(header: CsvHeader) -> InvalidInputError:
    found = ", ".join(header.names) if header.names else f"{len(header.first_values)} columns without names"
    return row_fault(
        header.path,
        1,
        f"unknown format ({found})",
        f"a trade archive has {', '.join(REQUIRED_COLUMNS)}; candles have timestamp, open, high, low, close, volume",
    )
