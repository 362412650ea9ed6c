from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import Instrument
from breakwater_core.sizing import Refused, Sized, entry_quantity, split_quantity

BTC = Instrument(
    symbol="BTCUSDT",
    tick_size=Decimal("0.10"),
    quantity_step=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    max_quantity=Decimal(1500),
    max_market_quantity=Decimal(150),
    min_notional=Decimal(5),
)


def sized(
    equity: str = "100000", leverage: str = "2", symbols: int = 10, price: str = "30123.4", instrument: Instrument = BTC
) -> Sized | Refused:
    return entry_quantity(
        equity=Decimal(equity),
        gross_leverage=Decimal(leverage),
        portfolio_size=symbols,
        price=Decimal(price),
        instrument=instrument,
    )


def test_quantity_is_the_symbols_share_rounded_down_to_the_step() -> None:
    assert sized() == Sized(Decimal("0.663"), Decimal("19971.8142"))  # 20,000 / 30,123.4 = 0.66393...


def test_quantity_that_fits_exactly_is_not_rounded() -> None:
    result = sized(equity="90000", symbols=3, leverage="1", price="30000")
    assert result == Sized(Decimal(1), Decimal(30000))


def test_no_equity_is_refused() -> None:
    for equity in ("0", "-1"):
        result = sized(equity=equity)
        assert isinstance(result, Refused)
        assert result.rule == "no_equity"


def test_sizes_below_the_minima_are_refused_and_never_rounded_up() -> None:
    result = sized(equity="100")  # 20 USDT buy 0.0006 BTC
    assert isinstance(result, Refused)
    assert result.rule == "below_min_quantity"
    assert "0.001" in result.detail
    doge = replace(BTC, symbol="DOGEUSDT", quantity_step=Decimal(1), min_quantity=Decimal(1))
    result = sized(equity="24", price="0.07", instrument=doge)
    assert isinstance(result, Refused)
    assert result.rule == "below_min_notional"


@pytest.mark.parametrize("fault", [{"leverage": "0"}, {"symbols": 0}, {"price": "0"}, {"price": "-1"}])
def test_values_out_of_range_are_errors(fault: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        sized(**fault)


@given(
    equity=st.decimals("0.01", "1e9", places=4),
    leverage=st.decimals("0.1", "10", places=2),
    symbols=st.integers(1, 300),
    price=st.decimals("0.0001", "100000", places=5).filter(lambda price: price > 0),
    step=st.sampled_from(["0.001", "0.01", "0.1", "1", "10", "1000"]),
)
def test_size_is_the_largest_multiple_of_the_step_within_the_share(
    equity: Decimal, leverage: Decimal, symbols: int, price: Decimal, step: str
) -> None:
    lot = Decimal(step)
    free = replace(BTC, quantity_step=lot, min_quantity=lot, min_notional=Decimal(0))
    result = entry_quantity(
        equity=equity, gross_leverage=leverage, portfolio_size=symbols, price=price, instrument=free
    )
    if isinstance(result, Sized):
        assert result.quantity % lot == 0
        assert result.quantity * price * symbols <= equity * leverage
        assert (result.quantity + lot) * price * symbols > equity * leverage
    else:
        assert lot * price * symbols > equity * leverage


@given(steps=st.integers(1, 5000), largest=st.integers(1, 400), smallest=st.integers(1, 60), extra=st.integers(0, 9))
def test_parts_sum_up_and_keep_to_the_instruments_rules(steps: int, largest: int, smallest: int, extra: int) -> None:
    step = Decimal("0.01")
    instrument = replace(
        BTC, quantity_step=step, min_quantity=step * smallest, max_market_quantity=step * largest + step * extra / 10
    )
    parts = split_quantity(step * steps, instrument)
    assert sum(parts) == step * steps
    assert all(0 < part <= instrument.max_market_quantity and part % step == 0 for part in parts)
    assert len(parts) == -(-steps // largest)
    avoidable = any(count * smallest <= steps <= count * largest for count in range(1, steps + 1))
    if avoidable:
        assert all(part >= instrument.min_quantity for part in parts)


def test_last_part_takes_from_the_one_before_to_reach_the_minimum() -> None:
    instrument = replace(BTC, quantity_step=Decimal(1), min_quantity=Decimal(5), max_market_quantity=Decimal(10))
    assert split_quantity(Decimal(22), instrument) == (Decimal(10), Decimal(7), Decimal(5))
    assert split_quantity(Decimal(10), instrument) == (Decimal(10),)


def test_quantities_that_are_no_multiple_of_the_step_cannot_be_split() -> None:
    for quantity in ("0", "-1", "0.0015"):
        with pytest.raises(InvalidInputError, match=r"multiple of 0\.001"):
            split_quantity(Decimal(quantity), BTC)
    with pytest.raises(InvalidInputError, match="below the step"):
        split_quantity(Decimal(1), replace(BTC, max_market_quantity=Decimal(0)))
