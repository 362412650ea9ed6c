"""Numbers as people read them."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_research.number_text import basis_points, compact, day_text, fixed, percent, price, time_text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (fixed(Decimal("1234567.891")), "1,234,567.89"),
        (fixed(Decimal("-0.001"), signed=True), "0.00"),
        (fixed(Decimal("-0.005"), 3), "−0.005"),
        (fixed(5, 0, signed=True), "+5"),
        (fixed(None), "–"),
        (percent(Decimal("-0.17551818294")), "−17.55%"),
        (percent(Decimal("0.0123"), 1, signed=True), "+1.2%"),
        (percent(None), "–"),
        (basis_points(Decimal("1.04")), "+1.0 bps"),
        (basis_points(None), "–"),
        (price(Decimal("0.28469999999999995")), "0.2847"),
        (price(Decimal("30000.00")), "30000"),
        (price(Decimal("1E-7")), "0.0000001"),
        (price(None), "–"),
        (compact(0.5, 0.25), "0.50"),
        (compact(-20, 10), "−20"),
        (compact(25_000, 5_000), "25k"),
        (compact(12_500_000, 500_000), "12.5M"),
        (compact(2e20, 1e20), "2e+20"),
        (day_text(date(2023, 7, 8)), "8 Jul 2023"),
        (time_text(1_688_802_690_999), "2023-07-08 07:51:30"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.decimals(-(10**12), 10**12, places=6), st.integers(0, 4))
def test_fixed_reads_back_as_the_rounded_value(value: Decimal, digits: int) -> None:
    read = Decimal(fixed(value, digits, signed=True).replace(",", "").replace("−", "-"))
    assert abs(read - value) <= Decimal(10) ** -digits / 2
