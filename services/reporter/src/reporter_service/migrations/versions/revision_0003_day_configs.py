"""Makes the table of the configurations that days ran under."""

import sqlalchemy as sa
from alembic import op

from reporter_service.column_types import EXACT_TEXT

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "day_configs",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("strategy_version", EXACT_TEXT, nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "day"),
    )


def downgrade() -> None:
    """Drop the table with all that it holds."""
    op.drop_table("day_configs")
