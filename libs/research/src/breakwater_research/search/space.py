"""The settings that a search tries: which keys of the configuration vary, and over which values.

A parameter set is a `BreakwaterConfig`: the base configuration with one value of each axis put in. Axes are written

    strategy.k_long=0.2:1.0:0.1                     from, to (included), step; decimal, so 0.3 is 0.3
    strategy.filter=trend,contrarian,none           a list; `none` unsets a key that may be unset
    strategy.k_long,strategy.k_short=0.3:0.7:0.1    several keys that move together
    portfolio.symbols=BTCUSDT+ETHUSDT,SOLUSDT       universes; `all` is every symbol of the data
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any, Final, Self

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError

SYMBOLS_KEY: Final = "portfolio.symbols"
MOST_VALUES: Final = 10_000
MOST_SETS: Final = 1_000_000
_FIXED_SECTIONS: Final = ("session",)

Value = float | int | str | tuple[str, ...] | None
"""A value of an axis: a tuple is a universe."""


@dataclass(frozen=True)
class Axis:
    """Keys that take the same value, and the values they take.

    Attributes:
        keys: `section.name`, at least one.
        values: At least one, in the order of trying, none twice.
    """

    keys: tuple[str, ...]
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        name = ",".join(self.keys)
        for key in self.keys:
            section = key.partition(".")[0]
            if section in _FIXED_SECTIONS:
                raise InvalidInputError(f"{name}: the session defines the days and is the same in all sets")
        if not self.values:
            raise InvalidInputError(f"{name}: has no values")
        if len(self.values) > MOST_VALUES:
            raise InvalidInputError(f"{name}: has {len(self.values):,} values, more than {MOST_VALUES:,}")
        if len(set(self.values)) != len(self.values):
            raise InvalidInputError(f"{name}: a value stands twice")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the axis that a text such as `strategy.k_long=0.2:1.0:0.1` describes.

        Raises:
            InvalidInputError: If it has another form, or a range is empty.
        """
        keys, separator, values = text.partition("=")
        if not separator:
            raise InvalidInputError(f"--vary takes section.key=values, e.g. strategy.k_long=0.2:1.0:0.1; was {text!r}")
        return cls.of(keys, values)

    @classmethod
    def of(cls, keys: str, values: object) -> Self:
        """Return the axis of `section.key[,section.key]` and values as text or as a list.

        Raises:
            InvalidInputError: If a key has no section, or the values are neither.
        """
        names = tuple(name.strip() for name in keys.split(","))
        for name in names:
            section, dot, last = name.partition(".")
            if not (section and dot and last):
                raise InvalidInputError(f"a varied key is section.key, e.g. strategy.k_long; was {name!r}")
        universes = names == (SYMBOLS_KEY,)
        if isinstance(values, str):
            return cls(names, _values_of_text(keys, values, universes=universes))
        if isinstance(values, Sequence):
            return cls(names, tuple(_value_of(keys, value, universes=universes) for value in values))
        raise InvalidInputError(f"{keys}: values are a range such as 0.2:1.0:0.1 or a list, were {values!r}")

    @property
    def is_ordered(self) -> bool:
        """Whether the values are rising numbers, so that neighbours can be expected to be alike."""
        numbers = [value for value in self.values if isinstance(value, int | float)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)


@dataclass(frozen=True)
class SearchSpace:
    """A base configuration and the axes that vary; sets are numbered from 0, the last axis running fastest.

    Attributes:
        base: What all sets share.
        axes: At least one; no key twice.
    """

    base: BreakwaterConfig
    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        keys = [key for axis in self.axes for key in axis.keys]
        if not keys:
            raise InvalidInputError("nothing varies; give e.g. --vary strategy.k_long=0.2:1.0:0.1")
        for key in keys:
            if keys.count(key) > 1:
                raise InvalidInputError(f"{key}: varies twice")
        if self.size > MOST_SETS:
            raise InvalidInputError(f"{self.size:,} sets are more than {MOST_SETS:,}; take coarser steps")
        first = tuple(0 for _ in self.axes)
        for number, axis in enumerate(self.axes):
            for index in range(len(axis.values)):  # names a wrong value before anything is computed
                self.config((*first[:number], index, *first[number + 1 :]))

    @property
    def size(self) -> int:
        """Number of sets."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that varies."""
        return tuple(key for axis in self.axes for key in axis.keys)

    def points(self) -> Iterator[tuple[int, ...]]:
        """Yield every set as one index per axis, in the order of their numbers."""
        yield from product(*(range(len(axis.values)) for axis in self.axes))

    def values(self, point: tuple[int, ...]) -> dict[str, Value]:
        """Return what a set puts in, by key."""
        return {key: axis.values[index] for axis, index in zip(self.axes, point, strict=True) for key in axis.keys}

    def config(self, point: tuple[int, ...]) -> BreakwaterConfig:
        """Return the parameter set of one index per axis.

        Raises:
            InvalidInputError: If a key is unknown or a value out of range.
        """
        nested = self.base.as_values()
        for key, value in self.values(point).items():
            section, _, name = key.partition(".")
            part = nested.setdefault(section, {})
            part[name] = list(value) if isinstance(value, tuple) else value
        return BreakwaterConfig.parse(nested)

    def as_values(self) -> dict[str, Any]:
        """Return the space as plain values: the base configuration and each axis."""
        axes = [{"keys": list(axis.keys), "values": [plain(value) for value in axis.values]} for axis in self.axes]
        return {"base": self.base.as_values(), "axes": axes}


def plain(value: Value) -> float | int | str | list[str] | None:
    """Return an axis' value as JSON states it."""
    return list(value) if isinstance(value, tuple) else value


def axes_of(texts: Sequence[str], mapping: Mapping[str, object] | None = None) -> tuple[Axis, ...]:
    """Return the axes of a search file's `vary` and of the command line; the latter replace those of the same keys.

    Raises:
        InvalidInputError: If one has another form.
    """
    axes = {axis.keys: axis for axis in (Axis.of(str(keys), values) for keys, values in (mapping or {}).items())}
    for text in texts:
        axis = Axis.parse(text)
        axes[axis.keys] = axis
    return tuple(axes.values())


def _values_of_text(keys: str, text: str, *, universes: bool) -> tuple[Value, ...]:
    if ":" in text and not universes:
        return _range(keys, text)
    return tuple(_value_of(keys, part.strip(), universes=universes) for part in text.split(","))


def _range(keys: str, text: str) -> tuple[Value, ...]:
    try:
        first, last, step = (Decimal(part.strip()) for part in text.split(":"))
        fits = first.is_finite() and last.is_finite() and step > 0 and last >= first
        count = int((last - first) / step) + 1 if fits else 0
    except (ValueError, InvalidOperation):
        fits, count = False, 0
    if not fits:
        raise InvalidInputError(f"{keys}: a range is from:to:step with a step above 0, e.g. 0.2:1.0:0.1; was {text!r}")
    if count > MOST_VALUES:
        raise InvalidInputError(f"{keys}: {text!r} has {count:,} values, more than {MOST_VALUES:,}")
    return tuple(_number(first + step * index) for index in range(count))


def _number(value: Decimal) -> float | int:
    return int(value) if value == value.to_integral_value() else float(value)


def _value_of(keys: str, value: object, *, universes: bool) -> Value:
    if universes:
        return _universe(keys, value)
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{keys}: a value is a number or a word, was {value!r}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return _number(number) if number.is_finite() else value


def _universe(keys: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return () if value == "all" else tuple(symbol.strip() for symbol in value.split("+"))
    if isinstance(value, Sequence) and all(isinstance(symbol, str) for symbol in value):
        return tuple(str(symbol) for symbol in value)
    raise InvalidInputError(f"{keys}: a universe is BTCUSDT+ETHUSDT, a list of symbols, or all; was {value!r}")
