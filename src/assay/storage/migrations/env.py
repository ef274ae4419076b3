"""What Alembic runs for every command: migrations over the connection that it is given."""

from alembic import context

from assay.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    compare_server_default=True,
    render_as_batch=True,  # SQLite changes a table by copying it
)
# The caller has begun the transaction, and ends it.
context.run_migrations()
