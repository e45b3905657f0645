#!/bin/bash
# What must hold before a command reaches the stack, for the scripts beside: sourced, with the compose command in COMPOSE.
# Each check says in one sentence what is missing and what to do, and ends with exit code 2.
compose=${COMPOSE:-docker-compose}
env_file=.env
if [[ $compose =~ --env-file[=\ ]([^ ]+) ]]; then env_file=${BASH_REMATCH[1]}; fi

fail() {
	echo "error: $*" >&2
	exit 2
}

# need_settings: there are a compose, settings for it, and an engine behind it.
need_settings() {
	local said name lacking=""
	command -v docker >/dev/null || fail "docker is not installed, and the stack of docker-compose.yaml needs it"
	command -v "${compose%% *}" >/dev/null || fail "there is neither docker compose nor docker-compose: install one"
	if ! said=$($compose config --quiet 2>&1); then
		[ -e "$env_file" ] || fail "there is no $env_file here: make env writes one for a new stack;" \
			"a stack that has volumes already needs the one that it was made with"
		for name in $(grep -oE '\$\{[A-Z_]+:\?' docker-compose.yaml | tr -dc 'A-Z_\n' | sort -u); do
			[ -n "${!name:-}" ] || grep -qE "^$name=." "$env_file" || lacking+="${lacking:+, }$name"
		done
		[ -z "$lacking" ] || fail "$env_file does not set $lacking: put it back as make env wrote it"
		fail "compose cannot read docker-compose.yaml with $env_file: $(tail -n 1 <<<"$said")"
	fi
	docker info >/dev/null 2>&1 || fail "the Docker engine does not answer: start it, or see whether you may use it (docker info)"
}

# need_images: what `make images` builds is there; what a registry has is pulled.
need_images() {
	local image missing=""
	for image in $($compose config | sed -n 's/^ *image: *//p' | sort -u); do
		case $image in
		retrain-*)
			docker image inspect "$image" >/dev/null 2>&1 || missing+="${missing:+, }$image"
			;;
		esac
	done
	[ -z "$missing" ] || fail "not built yet: $missing. Run make images first"
}

# containers: a line for each container of the stack: service, state, id, status as `docker ps` words it.
containers() {
	local ids
	ids=$($compose ps -aq 2>/dev/null | sed 's/^/--filter id=/')
	# shellcheck disable=SC2086
	[ -z "$ids" ] || docker ps --all --no-trunc $ids --filter label=com.docker.compose.oneoff=False \
		--format '{{.Label "com.docker.compose.service"}} {{.State}} {{.ID}} {{.Status}}'
}

# running SERVICE: the id of its first container that runs, nothing where none does.
running() {
	containers | awk -v service="$1" '$1 == service && $2 == "running" && !found {print $3; found = 1}'
}

# need_running SERVICE ...
need_running() {
	local service found odd missing=""
	found=$(containers)
	for service in "$@"; do
		grep -q "^$service running " <<<"$found" || missing+="${missing:+, }$service"
	done
	[ -n "$missing" ] || return 0
	grep -q "^[^ ]* running " <<<"$found" || fail "the stack is not up: make up starts it"
	odd=$(awk '/\(unhealthy\)$/ {print $1 " is unhealthy"} $2 == "restarting" {print $1 " starts again and again"}
		$2 == "exited" && $5 != "(0)" {print $1 " ended with exit code " $5}' <<<"$found" | tr -d '()' | sort -u | paste -sd,)
	fail "no container of $missing runs${odd:+ (${odd//,/, })}: make up starts what is missing, make logs tells why it ended"
}
