"""Which symbol a file holds."""

from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.file_symbols import split_source, symbol_in_name, symbol_of


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("binance_usdm_BTCUSDT_1m_2023JulAug.csv.gz", "BTCUSDT"),
        ("BTCUSDT2023-10-10.csv.gz", "BTCUSDT"),
        ("public_trades_FXSUSDT_2023-10-10.csv", "FXSUSDT"),
        ("binance_usdm_NEARUSDT-1m-2024-11.csv.gz", "NEARUSDT"),
        ("1000SHIBUSDT_1h.csv", "1000SHIBUSDT"),
        ("BTCPERP_1m.csv", "BTCPERP"),
        ("ETHUSDC.csv", "ETHUSDC"),
    ],
)
def test_the_symbol_is_the_one_token_of_the_name_that_looks_like_one(name: str, symbol: str) -> None:
    assert symbol_in_name(Path(name)) == symbol


@pytest.mark.parametrize("name", ["candles.csv", "BTCUSDT_ETHUSDT.csv", "xBTCUSDT.csv", "btcusdt.csv"])
def test_a_name_without_exactly_one_symbol_asks_for_it_to_be_given(name: str) -> None:
    with pytest.raises(InvalidInputError, match="SYMBOL=FILE"):
        symbol_of(Path(name), None)


def test_a_given_symbol_wins_over_the_name() -> None:
    assert symbol_of(Path("BTCUSDT.csv"), "ETHUSDT") == "ETHUSDT"


def test_a_source_with_an_equals_sign_is_symbol_and_path_unless_such_a_file_exists(tmp_path: Path) -> None:
    assert split_source("BTC-PERP=data/file=1.csv") == ("BTC-PERP", Path("data/file=1.csv"))
    odd = tmp_path / "a=b.csv"
    odd.touch()
    assert split_source(str(odd)) == (None, odd)


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        split_source(" ")
