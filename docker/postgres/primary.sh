#!/bin/sh
# Run once by the image, when the primary's data folder is new: whoever replicates gets a role, a slot and an entry.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$PGPASSWORD_REPLICATION" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE replication LOGIN REPLICATION PASSWORD :'password';
SELECT pg_create_physical_replication_slot('replica');
SQL
echo "host replication replication samenet scram-sha-256" >>"$PGDATA/pg_hba.conf"
