"""A tenant's own part of the database: its SQLite lies in its home; of a PostgreSQL that is shared it has a schema.

The schema is all that a tenant's connections see, so no statement can mean another's table by accident. From whom the
server itself shall keep it needs a role, and a service, of its own.
"""

import sqlalchemy as sql

from recsys.artifacts import discard_folder
from recsys.home import Home
from recsys.tenants import close_tenant, tenant_home

PREFIX = "tenant_"


def schema_of(home: Home) -> str | None:
    """Return the name of a tenant's schema; None: the home is no tenant's."""
    return None if home.tenant is None else _schema(home.tenant)


def search_path(own: str | None) -> dict[str, str]:
    """Return the arguments of a PostgreSQL's connections that see one schema alone; None: the usual one."""
    return {} if own is None else {"options": f"-csearch_path={own}"}


def delete_tenant(house: Home, name: str, url: str | None) -> None:
    """Delete a tenant with all that it has. One that is interrupted is gone on with by the next call.

    Args:
        house: the home that tenants share.
        name: the tenant's.
        url: of the PostgreSQL that tenants share; None: there is none.

    Raises:
        SettingError: the name is none.
        ArtifactError: there is no such tenant.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; no key is accepted, nothing else is done.
    """
    close_tenant(house, name)
    if url is not None:
        engine = sql.create_engine(url, hide_parameters=True)
        try:
            with engine.begin() as connection:
                connection.execute(sql.schema.DropSchema(_schema(name), cascade=True, if_exists=True))
        finally:
            engine.dispose()
    discard_folder(tenant_home(house, name).root)


def _schema(name: str) -> str:
    return PREFIX + name.replace("-", "_")  # names have no underscore, so no two schemas are one
