"""What Alembic runs for ``recsys.database.schema``, in the transaction that this has begun."""

from alembic import context

from recsys.database.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
