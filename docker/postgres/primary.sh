#!/bin/sh
# Run once by the image, when the primary's data folder is new. Whoever replicates gets a role, a slot and an entry; the
# responders and issuance get the passwords of their roles, to which `issuance roles` then grants what each needs.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$PGPASSWORD_REPLICATION" -v responders="$PGPASSWORD_RESPONDERS" \
    -v issuance="$PGPASSWORD_ISSUANCE" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE replication LOGIN REPLICATION PASSWORD :'password';
CREATE ROLE ca_responders LOGIN PASSWORD :'responders';
CREATE ROLE ca_issuance LOGIN PASSWORD :'issuance';
SELECT pg_create_physical_replication_slot('replica');
SQL
echo "host replication replication samenet scram-sha-256" >>"$PGDATA/pg_hba.conf"
