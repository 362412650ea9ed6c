from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.decimals import floor_to_step, from_float, from_text, round_to_step, to_text
from breakwater_core.errors import InvalidInputError

STEPS = st.sampled_from([Decimal(text) for text in ("0.00000001", "0.001", "0.25", "1", "10", "1000")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1E+3", "1000"),
        ("1.500", "1.5"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("0E-12", "0"),
        ("100", "100"),
        ("1E-10", "0.0000000001"),
    ],
)
def test_text_is_plain_and_without_trailing_zeros(value: str, text: str) -> None:
    assert to_text(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_text_reads_back_as_the_same_number(value: Decimal) -> None:
    assert from_text(to_text(value)) == value


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "-inf", "1,5"])
def test_text_that_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a"):
        from_text(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float_becomes_the_shortest_decimal_that_reads_back(value: float) -> None:
    assert float(from_float(value)) == value


def test_float_is_taken_as_it_is_written() -> None:
    assert from_float(0.1) == Decimal("0.1")
    assert from_float(30123.4) == Decimal("30123.4")


@given(st.decimals(0, 10**9, places=10), STEPS)
def test_floor_is_the_largest_multiple_not_above(value: Decimal, step: Decimal) -> None:
    floored = floor_to_step(value, step)
    assert floored % step == 0
    assert floored <= value < floored + step


def test_floor_does_not_round_up_however_close_the_next_step_is() -> None:
    assert floor_to_step(Decimal("2." + "9" * 40), Decimal(1)) == 2


@given(st.decimals(-(10**9), 10**9, places=10), STEPS)
def test_rounding_gives_the_nearest_multiple(value: Decimal, step: Decimal) -> None:
    rounded = round_to_step(value, step)
    assert rounded % step == 0
    assert abs(rounded - value) * 2 <= step
