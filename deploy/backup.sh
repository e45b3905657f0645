#!/bin/bash
# Save both databases, the artifacts and the predictions of a running stack into a new folder: backup.sh FOLDER
set -euo pipefail
# shellcheck source=deploy/checks.sh
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
to=${1:-}
while [[ $to == ?*/ ]]; do to=${to%/}; done
[ -n "$to" ] || fail "name a new folder for the backup: make backup TO=FOLDER"
[ ! -e "$to" ] || fail "$to is there already: name a new folder"
need_settings
need_running postgres mlflow data

part="$to.part"
saving="the folder $part"
finish() {
	local code=$?
	((code != 0)) || return 0
	rm -rf "$part"
	echo "error: the backup failed at $saving, see above; nothing of it is left. Mend that and run it again" >&2
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf "$part"
mkdir -m 700 "$part"
# Databases first: an artifact is stored before anything names it, so what they name is in the archive.
for database in airflow mlflow; do
	saving="the database $database"
	echo "Saving $saving ..."
	$compose exec -T postgres pg_dump -U postgres --format custom "$database" >"$part/$database.dump"
done
saving="the artifacts"
echo "Saving $saving ..."
$compose exec -T mlflow tar -C /mlflow -cf - artifacts >"$part/artifacts.tar"
saving="the predictions"
echo "Saving $saving ..."
# The pointers to the newest first, for the same reason; the archive has each a second time, which restore.sh skips.
$compose exec -T data sh -c \
	'cd /predictions && tar -cf - $(find . -mindepth 2 -maxdepth 2 -name "latest*.json") .' >"$part/predictions.tar"
saving="its digests"
(cd "$part" && sha256sum -- airflow.dump mlflow.dump artifacts.tar predictions.tar >SHA256SUMS)
mv "$part" "$to"
echo "Saved in $to. Keep $env_file with it: without its keys Airflow cannot read what it encrypted."
