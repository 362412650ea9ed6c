"""Runs the migrations on the connection that `reporter_service.migrate` hands over, inside its transaction."""

from alembic import context

from reporter_service.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
