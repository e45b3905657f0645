#!/bin/bash
# Run by PostgreSQL's image when its volume is empty: a database and an owner each for Airflow and MLflow.
set -euo pipefail
for name in airflow mlflow; do
	password="${name^^}_DB_PASSWORD"
	psql -v ON_ERROR_STOP=1 -v name="$name" -v password="${!password}" -U "$POSTGRES_USER" -d postgres <<'SQL'
CREATE USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
