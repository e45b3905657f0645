#!/bin/bash
# Put a backup back, over whatever the stack's volumes hold now: restore.sh FOLDER
set -euo pipefail
# shellcheck source=deploy/checks.sh
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
from=${1:-}
[ -n "$from" ] || fail "name the folder of a backup: make restore FROM=FOLDER"
[ -e "$from/SHA256SUMS" ] || fail "$from is no backup of make backup: it has no file SHA256SUMS"
need_settings
need_images
(cd "$from" && sha256sum --quiet --check SHA256SUMS) || fail "$from is not as it was saved (above): nothing was restored"
$compose stop
$compose up -d postgres
for ((left = 60; ; left--)); do
	$compose exec -T postgres pg_isready -q -h 127.0.0.1 -U postgres && break
	if ((left == 0)); then
		fail "PostgreSQL does not come up: see the logs of the service postgres (make logs)"
	fi
	sleep 2
done
# The databases, their owners' passwords as .env has them now, and who may connect.
$compose exec -T postgres bash /docker-entrypoint-initdb.d/databases.sh --anew
for database in airflow mlflow; do
	echo "Restoring the database $database ..."
	$compose exec -T postgres pg_restore -U postgres --exit-on-error -d "$database" <"$from/$database.dump"
done
echo "Restoring the artifacts ..."
$compose run --rm -T --no-deps mlflow sh -c 'rm -rf /mlflow/artifacts && tar -C /mlflow -xf -' <"$from/artifacts.tar"
if [ -e "$from/predictions.tar" ]; then # backups from before there were predictions have none
	echo "Restoring the predictions ..."
	$compose run --rm -T --no-deps data sh -c \
		'find /predictions -mindepth 1 -delete && tar -C /predictions --skip-old-files -xf -' <"$from/predictions.tar"
fi
echo "Restored. Next: make up"
