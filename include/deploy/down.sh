#!/bin/bash
# Stop the stack and the containers of its steps, which compose does not know; volumes stay. Arguments go to compose down.
set -euo pipefail
compose=${COMPOSE:-docker-compose}
# The workers first: nobody starts a step any more. What a step was doing is tried again after the next start.
$compose stop --timeout 10 worker
network=$($compose config | sed -n 's/^ *name: \(.*-pipeline\)$/\1/p' | head -n 1)
docker ps --all --quiet --filter label=model-registry.dag --filter "network=$network" | xargs -r docker rm --force >/dev/null
$compose down "$@"
