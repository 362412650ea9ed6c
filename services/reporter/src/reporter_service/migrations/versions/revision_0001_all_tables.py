"""Makes all tables."""

import sqlalchemy as sa
from alembic import op

from reporter_service.column_types import EXACT_TEXT, ExactDecimal

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "account_snapshots",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("kind", EXACT_TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("equity", ExactDecimal(), nullable=False),
        sa.Column("wallet_balance", ExactDecimal(), nullable=False),
        sa.Column("net_deposits", ExactDecimal(), nullable=False),
        sa.Column("positions", sa.JSON(), nullable=False),
        sa.Column("fills_total", sa.BigInteger(), nullable=False),
        sa.Column("event_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "account", "kind", "day"),
    )
    op.create_table(
        "alerts",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("alert_id", EXACT_TEXT, nullable=False),
        sa.Column("severity", EXACT_TEXT, nullable=False),
        sa.Column("service", EXACT_TEXT, nullable=False),
        sa.Column("name", EXACT_TEXT, nullable=False),
        sa.Column("summary", EXACT_TEXT, nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("symbol", EXACT_TEXT, nullable=False),
        sa.Column("event_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "alert_id"),
    )
    op.create_index("alerts_by_time", "alerts", ["run_id", "event_time_ms"], unique=False)
    op.create_table(
        "daily_performance",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("equity", ExactDecimal(), nullable=False),
        sa.Column("net_deposits", ExactDecimal(), nullable=False),
        sa.Column("ror", ExactDecimal(), nullable=False),
        sa.Column("cumulative", ExactDecimal(), nullable=False),
        sa.Column("drawdown", ExactDecimal(), nullable=False),
        sa.Column("mdd", ExactDecimal(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("fills", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "account", "day"),
    )
    op.create_table(
        "fills",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("exec_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("symbol", EXACT_TEXT, nullable=False),
        sa.Column("order_id", EXACT_TEXT, nullable=False),
        sa.Column("order_link_id", EXACT_TEXT, nullable=False),
        sa.Column("side", EXACT_TEXT, nullable=False),
        sa.Column("quantity", ExactDecimal(), nullable=False),
        sa.Column("price", ExactDecimal(), nullable=False),
        sa.Column("fee", ExactDecimal(), nullable=False),
        sa.Column("fee_rate", ExactDecimal(), nullable=False),
        sa.Column("is_maker", sa.Boolean(), nullable=False),
        sa.Column("kind", EXACT_TEXT, nullable=False),
        sa.Column("exec_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "exec_id"),
    )
    op.create_index("fills_by_account", "fills", ["run_id", "account", "exec_time_ms", "exec_id"], unique=False)
    op.create_index("fills_by_order", "fills", ["run_id", "order_link_id"], unique=False)
    op.create_index("fills_by_time", "fills", ["run_id", "exec_time_ms", "order_link_id", "exec_id"], unique=False)
    op.create_table(
        "intents",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("intent_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("symbol", EXACT_TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("strategy_version", EXACT_TEXT, nullable=False),
        sa.Column("leg", EXACT_TEXT, nullable=False),
        sa.Column("side", EXACT_TEXT, nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("target_price", ExactDecimal(), nullable=False),
        sa.Column("trigger_price", ExactDecimal(), nullable=False),
        sa.Column("trigger_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", EXACT_TEXT, nullable=False),
        sa.Column("reason", EXACT_TEXT, nullable=False),
        sa.Column("detail", EXACT_TEXT, nullable=False),
        sa.Column("child", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("event_id", EXACT_TEXT, nullable=False),
        sa.Column("event_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "intent_id"),
    )
    op.create_index("intents_by_day", "intents", ["run_id", "day", "account", "symbol"], unique=False)
    op.create_index("intents_by_status", "intents", ["run_id", "status"], unique=False)
    op.create_table(
        "orders",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("order_link_id", EXACT_TEXT, nullable=False),
        sa.Column("intent_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("symbol", EXACT_TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("strategy_version", EXACT_TEXT, nullable=False),
        sa.Column("child", sa.BigInteger(), nullable=False),
        sa.Column("leg", EXACT_TEXT, nullable=False),
        sa.Column("side", EXACT_TEXT, nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("status", EXACT_TEXT, nullable=False),
        sa.Column("quantity", ExactDecimal(), nullable=False),
        sa.Column("filled_quantity", ExactDecimal(), nullable=False),
        sa.Column("average_price", ExactDecimal(), nullable=True),
        sa.Column("target_price", ExactDecimal(), nullable=False),
        sa.Column("trigger_price", ExactDecimal(), nullable=False),
        sa.Column("trigger_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("slippage_bps", ExactDecimal(), nullable=True),
        sa.Column("reason", EXACT_TEXT, nullable=False),
        sa.Column("detail", EXACT_TEXT, nullable=False),
        sa.Column("intent_closed", sa.Boolean(), nullable=False),
        sa.Column("event_id", EXACT_TEXT, nullable=False),
        sa.Column("event_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "order_link_id"),
    )
    op.create_index("orders_by_day", "orders", ["run_id", "day", "account", "symbol"], unique=False)
    op.create_index("orders_by_intent", "orders", ["run_id", "intent_id"], unique=False)
    op.create_index("orders_by_time", "orders", ["run_id", "trigger_time_ms", "order_link_id"], unique=False)
    op.create_table(
        "positions",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("account", EXACT_TEXT, nullable=False),
        sa.Column("symbol", EXACT_TEXT, nullable=False),
        sa.Column("size", ExactDecimal(), nullable=False),
        sa.Column("bought_quantity", ExactDecimal(), nullable=False),
        sa.Column("sold_quantity", ExactDecimal(), nullable=False),
        sa.Column("cash_flow", ExactDecimal(), nullable=False),
        sa.Column("fees", ExactDecimal(), nullable=False),
        sa.Column("funding", ExactDecimal(), nullable=False),
        sa.Column("fills", sa.BigInteger(), nullable=False),
        sa.Column("last_exec_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "account", "symbol"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", EXACT_TEXT, nullable=False),
        sa.Column("strategy_version", EXACT_TEXT, nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("now_ms", sa.BigInteger(), nullable=False),
        sa.Column("trades_total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )


def downgrade() -> None:
    """Drop the tables with all that they hold."""
    op.drop_table("runs")
    op.drop_table("positions")
    op.drop_index("orders_by_time", table_name="orders")
    op.drop_index("orders_by_intent", table_name="orders")
    op.drop_index("orders_by_day", table_name="orders")
    op.drop_table("orders")
    op.drop_index("intents_by_status", table_name="intents")
    op.drop_index("intents_by_day", table_name="intents")
    op.drop_table("intents")
    op.drop_index("fills_by_time", table_name="fills")
    op.drop_index("fills_by_order", table_name="fills")
    op.drop_index("fills_by_account", table_name="fills")
    op.drop_table("fills")
    op.drop_table("daily_performance")
    op.drop_index("alerts_by_time", table_name="alerts")
    op.drop_table("alerts")
    op.drop_table("account_snapshots")
