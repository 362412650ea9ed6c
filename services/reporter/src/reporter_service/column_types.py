"""Column types that hold exactly what was put in, on SQLite and on Postgres."""

from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, Numeric, Text, types
from sqlalchemy.dialects import postgresql

from breakwater_core.decimals import from_text, to_text

EXACT_TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that sorts by code point on both, whatever the language of the server."""


class ExactDecimal(types.TypeDecorator[Decimal]):
    """A decimal of any precision: `numeric` where the database has it, else plain text.

    Trailing zeros are dropped on the way in, so that both databases give back the same.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Return the type of the database in use."""
        return dialect.type_descriptor(Numeric() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return what the driver stores."""
        if value is None:
            return None
        text = to_text(value)
        return from_text(text) if dialect.name == "postgresql" else text

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """Return the decimal that was stored."""
        return None if value is None else from_text(str(value))
