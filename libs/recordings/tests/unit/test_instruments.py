"""Trading rules for data that comes without them."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.instruments import DEFAULT_SYMBOLS, default_instrument, instruments


def test_the_ten_symbols_have_rules_under_which_the_smallest_order_is_small() -> None:
    rules = instruments()

    assert tuple(rules) == DEFAULT_SYMBOLS
    assert len(rules) == 10
    for symbol, rule in rules.items():
        assert rule.symbol == symbol
        assert rule.min_quantity == rule.quantity_step <= rule.max_market_quantity <= rule.max_quantity


@given(st.floats(1e-9, 1e7))
def test_default_rules_fit_any_price(price: float) -> None:
    rule = default_instrument("ANYUSDT", price)

    assert Decimal("0.00001") < rule.tick_size / Decimal(repr(price)) <= Decimal("0.0001") * Decimal("1.0001")
    assert rule.quantity_step * Decimal(repr(price)) <= max(Decimal(5), Decimal(repr(price)) * rule.quantity_step)
    assert float(math.log10(rule.tick_size)).is_integer()
    assert rule.quantity_step <= 1
    assert 0 < rule.max_market_quantity <= rule.max_quantity
    assert rule.max_quantity % rule.quantity_step == 0


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_default_rules_need_a_price(price: float) -> None:
    with pytest.raises(InvalidInputError, match="price must be finite and above 0"):
        default_instrument("ANYUSDT", price)
