#!/bin/bash
# An owner and an empty database each for Airflow and MLflow. PostgreSQL's image runs it when its volume is empty, and
# restore.sh with --anew, which first drops the databases that are there.
set -euo pipefail
anew=false
if [ "${1:-}" = --anew ]; then anew=true; fi
for name in airflow mlflow; do
	password="${name^^}_DB_PASSWORD"
	psql -q -v ON_ERROR_STOP=1 -v anew="$anew" -v name="$name" -v password="${!password}" -U "$POSTGRES_USER" -d postgres <<'SQL'
\if :anew
DROP DATABASE IF EXISTS :"name" WITH (FORCE);
\endif
SELECT format('CREATE USER %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
