#!/bin/bash
# What `make` does with the stack: stack.sh up | down [ARGUMENT ...] | logs | smoke | users NAME:ROLE ... | cli COMMAND ...
set -euo pipefail
# shellcheck source=deploy/checks.sh
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# need_fitting_database: both users of the database get in with the passwords of these settings. Over the network, where
# PostgreSQL asks for one.
need_fitting_database() {
	local before name said left=60
	before=$(containers)
	$compose up --detach postgres
	until $compose exec -T postgres pg_isready -q -h 127.0.0.1 -U postgres -d airflow; do
		((left--)) || fail "PostgreSQL does not come up: see the logs of the service postgres (make logs)"
		sleep 2
	done
	for name in airflow mlflow; do
		said=$($compose exec -T postgres sh -c \
			"PGCONNECT_TIMEOUT=10 PGPASSWORD=\$${name^^}_DB_PASSWORD psql -h postgres -U $name -d $name -Atc 'SELECT 1'" \
			</dev/null 2>&1) && continue
		[ -n "$before" ] || $compose down >/dev/null 2>&1
		fail "the volumes of this stack are not those of $env_file ($(tail -n 1 <<<"$said" | sed 's/.*FATAL: *//'))." \
			"Put back the $env_file that was there when they were made (it belongs beside each backup). To begin anew," \
			"name another COMPOSE_PROJECT_NAME in $env_file, which leaves them as they are, or delete them with all" \
			"their models: make down ARGS=--volumes"
	done
}

# The steps' containers, which compose does not know, end as well; what they did is tried again after the next start.
down() {
	local network
	# The workers first: nobody starts a step any more.
	$compose stop --timeout 10 worker
	network=$($compose config | sed -n 's/^ *name: \(.*-pipeline\)$/\1/p' | head -n 1)
	docker ps --all --quiet --filter label=model-registry.dag --filter "network=$network" | xargs -r docker rm --force >/dev/null
	$compose down "$@"
}

case ${1:-} in
up)
	need_settings
	need_images
	need_fitting_database
	$compose up --detach --scale "worker=${WORKERS_UP:-2}" || {
		why=$($compose logs --no-color --tail 20 init 2>/dev/null | sed -n 's/.*error: //p' | tail -n 1)
		fail "the stack did not come up, see above${why:+; init says: $why}. make logs tells more"
	}
	;;
down)
	need_settings
	down "${@:2}"
	;;
logs)
	need_settings
	exec $compose logs --follow --tail 50
	;;
smoke)
	need_settings
	need_running worker
	exec docker exec "$(running worker)" python /opt/retrain/deploy/smoke.py
	;;
users)
	need_settings
	need_running postgres mlflow apiserver
	exec $compose run --rm -T --no-deps -e AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR \
		init python /opt/retrain/deploy/users.py "${@:2}"
	;;
cli)
	need_settings
	need_running mlflow data
	# Files are read and written in this folder, as whoever runs it.
	exec $compose run --rm -T --no-deps --user "$(id -u):$(id -g)" -e "LOGNAME=$(id -un)" \
		--volume "$PWD:/work" --workdir /work cli "${@:2}"
	;;
*) fail "stack.sh knows up, down, logs, smoke, users and cli, not '${1:-}'" ;;
esac
