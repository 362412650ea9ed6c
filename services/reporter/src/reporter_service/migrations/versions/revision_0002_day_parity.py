"""Makes the table of days compared with their backtests."""

import sqlalchemy as sa
from alembic import op

from reporter_service.column_types import EXACT_TEXT, ExactDecimal

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "day_parity",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("comparable", sa.Boolean(), nullable=False),
        sa.Column("reason", EXACT_TEXT, nullable=False),
        sa.Column("orders_equal", sa.BigInteger(), nullable=False),
        sa.Column("orders_different", sa.BigInteger(), nullable=False),
        sa.Column("cost", ExactDecimal(), nullable=False),
        sa.Column("total_bps", ExactDecimal(), nullable=False),
        sa.Column("differences", sa.JSON(), nullable=False),
        sa.Column("announced", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "account", "day"),
    )


def downgrade() -> None:
    """Drop the table with all that it holds."""
    op.drop_table("day_parity")
