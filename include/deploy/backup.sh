#!/bin/bash
# Save both databases, the artifacts and the predictions of a running stack into a new folder: backup.sh FOLDER
set -euo pipefail
compose=${COMPOSE:-docker-compose}
to=${1:?name a new folder for the backup}
if [ -e "$to" ]; then
	echo "error: $to is there already: name a new folder" >&2
	exit 2
fi
part="$to.part"
rm -rf "$part"
mkdir -m 700 "$part"
# Databases first: an artifact is stored before anything names it, so what they name is in the archive.
for database in airflow mlflow; do
	echo "Saving the database $database ..."
	$compose exec -T postgres pg_dump -U postgres --format custom "$database" >"$part/$database.dump"
done
echo "Saving the artifacts ..."
$compose exec -T mlflow tar -C /mlflow -cf - artifacts >"$part/artifacts.tar"
echo "Saving the predictions ..."
# The pointers to the newest first, for the same reason; the archive has each a second time, which restore.sh skips.
$compose exec -T data sh -c \
	'cd /predictions && tar -cf - $(find . -mindepth 2 -maxdepth 2 -name "latest*.json") .' >"$part/predictions.tar"
(cd "$part" && sha256sum -- airflow.dump mlflow.dump artifacts.tar predictions.tar >SHA256SUMS)
mv "$part" "$to"
echo "Saved in $to. Keep .env with it: without its keys Airflow cannot read what it encrypted."
