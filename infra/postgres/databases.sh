#!/bin/sh
# Makes the two databases and their owners, at the first start of compose.yaml's PostgreSQL: Prefect's and the events'.
# Neither owner may look into the other's.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set prefect="$PREFECT_DATABASE_PASSWORD" --set events="$EVENTS_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE ROLE recsys LOGIN PASSWORD :'events';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE events OWNER recsys;
REVOKE CONNECT, TEMPORARY ON DATABASE prefect, events FROM PUBLIC;
SQL
