#!/bin/sh
# The replica copies the primary when it has no data, and follows it from then on. A copy that broke off is begun anew.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.copy"
    PGPASSWORD="$PGPASSWORD_REPLICATION" pg_basebackup --dbname "$PRIMARY_CONNINFO" --pgdata "$PGDATA.copy" \
        --slot replica --wal-method stream --checkpoint fast --write-recovery-conf --no-password
    chmod 0700 "$PGDATA.copy"
    mv "$PGDATA.copy" "$PGDATA"
fi
exec postgres -c hot_standby_feedback=on "$@"
