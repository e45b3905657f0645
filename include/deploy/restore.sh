#!/bin/bash
# Put a backup back, over whatever the stack's volumes hold now: restore.sh FOLDER
set -euo pipefail
compose=${COMPOSE:-docker-compose}
from=${1:?name the folder of a backup}
(cd "$from" && sha256sum --quiet --check SHA256SUMS)
$compose stop
$compose up -d postgres
for ((left = 60; ; left--)); do
	$compose exec -T postgres pg_isready -q -h 127.0.0.1 -U postgres && break
	if ((left == 0)); then
		echo "error: PostgreSQL does not come up: see the logs of the service postgres" >&2
		exit 1
	fi
	sleep 2
done
for database in airflow mlflow; do
	echo "Restoring the database $database ..."
	$compose exec -T postgres psql -q -v ON_ERROR_STOP=1 -U postgres -d postgres \
		-c "DROP DATABASE IF EXISTS $database WITH (FORCE)" \
		-c "CREATE DATABASE $database OWNER $database TEMPLATE template0 ENCODING 'UTF8'"
	$compose exec -T postgres pg_restore -U postgres --exit-on-error -d "$database" <"$from/$database.dump"
done
echo "Restoring the artifacts ..."
$compose run --rm -T --no-deps mlflow sh -c 'rm -rf /mlflow/artifacts && tar -C /mlflow -xf -' <"$from/artifacts.tar"
echo "Restored. Next: make up"
