# Everything a person or CI does here is one of these targets; `make help` lists them.
SHELL := /bin/bash
# Set in many images; each of the processes that a retrain or a test starts would compile this project again.
unexport PYTHONDONTWRITEBYTECODE
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
VENV_ML ?= .venv-ml
INSTALLER ?= uv
UV_VERSION := $(shell sed -n 's/^ARG UV_VERSION=//p' Dockerfile)
# Test processes: the tests start processes of their own, so more of them than cores helps nobody.
WORKERS ?= 2
# One more where `make run` is among them, which waits for its servers half of the time: it comes first, and what its
# process should have run after it the others take over.
BESIDE ?= 3

STATE_DIR ?= .run
AIRFLOW_PORT ?= 8080
MLFLOW_PORT ?= 5000
APPROVE ?=
QUICK ?=
DATA ?=
ORIGINS ?= 6
BOOSTER ?= lightgbm
MINUTES ?= 30

WORKERS_UP ?= 2
ARGS ?=
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
STACK = COMPOSE="$(COMPOSE)" deploy/stack.sh
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
STAMP_ML := $(VENV_ML)/.installed
LOCK_INPUTS := requirements.txt include/requirements.txt constraints.txt

# Arguments of the local stack; empty, 0, no and false switch APPROVE and QUICK off.
off := 0 no false
flag = $(if $(filter-out $(off),$(1)),$(2))
STACK_ARGS = --state-dir "$(STATE_DIR)" --airflow-port $(AIRFLOW_PORT) --mlflow-port $(MLFLOW_PORT) \
	$(if $(DATA),--data "$(DATA)") $(MODEL:%=--model %) $(call flag,$(APPROVE),--approve) $(call flag,$(QUICK),--quick)

# find_python: sets $$found to the first Python 3.11 or 3.12 that really starts (pyenv's shims may not).
define find_python
for candidate in $(PYTHON) python3 python3.12 python3.11; do \
	if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; then \
		found="$$candidate"; break; \
	fi; \
done; \
if [ -z "$${found:-}" ]; then \
	echo "error: Python 3.11 or 3.12 is needed and was found neither as python3 nor as python3.12 or python3.11." >&2; \
	echo "       Debian/Ubuntu: sudo apt-get install python3 python3-venv; macOS: brew install python@3.12;" >&2; \
	echo "       or name one: make setup PYTHON=/path/to/python3.12" >&2; \
	exit 1; \
fi
endef

# install FOLDER, WHAT: a virtual environment with the locked versions. uv takes seconds where pip takes
# minutes; where uv cannot reach the package index that pip is configured for, pip does the work. Compiled at once, as
# pip does it: every step and server is a new process, and importing what it needs takes twice as long without.
define install
if [ ! -x $(1)/bin/pip ]; then \
	$(find_python); \
	"$$found" -m venv --clear $(1) || { \
		echo "error: $$found cannot make a virtual environment. Debian/Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }; \
fi; \
echo "Installing the locked packages into $(1) ..."; \
done=""; \
if [ "$(INSTALLER)" = uv ]; then \
	if $(1)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) \
		&& VIRTUAL_ENV=$(abspath $(1)) $(1)/bin/uv pip install --compile-bytecode --quiet $(2) -c constraints.txt; then done=yes; \
	else echo "uv could not install them; pip does it (some minutes)." >&2; fi; \
fi; \
if [ -z "$$done" ]; then $(1)/bin/pip install --disable-pip-version-check --quiet $(2) -c constraints.txt; fi
endef

##@ Start here

.PHONY: help
help: ## This table of contents
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET [NAME=VALUE ...]"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Settings of run: MODEL=\"rossmann churn\" DATA=FOLDER APPROVE=1 QUICK=1 AIRFLOW_PORT=8080 MLFLOW_PORT=5000 STATE_DIR=.run"
	@echo "Settings of setup: PYTHON=python3.12 INSTALLER=pip VENV=.venv"

.PHONY: setup
setup: $(STAMP) ## Install everything into .venv (Python 3.11 or 3.12)

.PHONY: setup-ml
setup-ml: $(STAMP_ML) ## Install the machine-learning side alone, without Airflow, into .venv-ml

.PHONY: run
run: $(STAMP) ## Start MLflow and Airflow here, retrain, wait for your approval; Ctrl-C stops all
	@exec $(PY) -m local_stack run $(STACK_ARGS)

.PHONY: new-model
new-model: $(STAMP) ## Make another model, NAME=churn_2: configuration, package, DAGs, tests; it runs at once
	@$(PY) -m include.retraining new-model "$(NAME)"

.PHONY: stop
stop: ## Stop what a `make run` elsewhere started (or left behind when it was killed)
	@test -x $(PY) || exit 0; exec $(PY) -m local_stack stop --state-dir "$(STATE_DIR)"

# An MLflow and a data registry of their own, in a folder of STATE_DIR, filled with DATA or the sample.
define experiment
mkdir -p "$(STATE_DIR)/$(1)"; cd "$(STATE_DIR)/$(1)"; \
export PYTHONPATH="$(CURDIR)" MLFLOW_TRACKING_URI="sqlite:///$$PWD/mlflow.db" RETRAIN_DATA_REGISTRY="$$PWD/registry"; \
step() { "$(abspath $(PY))" -m include.models.rossmann "$$@"; }; \
step $(if $(DATA),import-data "$(abspath $(DATA))",sample) "$$PWD/registry" >/dev/null
endef

.PHONY: backtest
backtest: $(STAMP) ## Forecast the past from many days, DATA=FOLDER ORIGINS=6 QUICK=1; stopped and started again it goes on
	@$(call experiment,backtest); \
	step backtest --origins $(ORIGINS) $(call flag,$(QUICK),--quick) --page "$$PWD/backtest.html"

.PHONY: tune
tune: $(STAMP) ## Search for better parameters, DATA=FOLDER BOOSTER=lightgbm MINUTES=30; started again it goes on
	@$(call experiment,tune); \
	step tune --booster $(BOOSTER) --minutes $(MINUTES) --journal "$$PWD/trials.journal"

##@ Checks

.PHONY: lint
lint: $(STAMP) ## ruff: rules and format, checked and never changed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

.PHONY: typecheck
typecheck: $(STAMP) ## mypy, strict on include and plugins
	$(VENV)/bin/mypy

.PHONY: imports
imports: $(STAMP) ## The one direction of imports: dags -> plugins -> include
	PYTHONPATH=.:plugins $(VENV)/bin/lint-imports

.PHONY: test
test: lint typecheck imports ## All checks, unit and DAG tests, one retrain with make run on a real Airflow and MLflow
	$(PY) -m pytest -n $(BESIDE) --dist worksteal -m "not system and not docker and not long"

.PHONY: test-unit
test-unit: $(STAMP) ## Unit and DAG tests only
	$(PY) -m pytest -n $(WORKERS)

# What may need a library that Airflow brings: every module, every step, the registry. The rest is the same with and without,
# and `make test` has run it; what takes long runs here alone.
ML := rossmann/test_pipeline.py $(patsubst %,lifecycle/test_%.py,imports registry integrity retention)

.PHONY: test-ml
test-ml: $(STAMP_ML) ## What takes long, and include/ without Airflow: every module, every step, the model by itself
	@if $(VENV_ML)/bin/python -c 'import airflow' 2>/dev/null; then echo "error: Airflow is in $(VENV_ML)" >&2; exit 1; fi
	$(VENV_ML)/bin/python -m pytest -n $(WORKERS) -m long \
		tests/rossmann tests/models tests/retraining tests/local_stack tests/lifecycle/test_races.py tests/lifecycle/test_rollover.py
	$(VENV_ML)/bin/python -m pytest -n $(WORKERS) $(ML:%=tests/%)
	$(VENV_ML)/bin/python -m pytest -m system tests/rossmann/test_clean_environment.py

# One Airflow and one MLflow serve all of them, in this order: the outages come last.
SYSTEM := doors browser life_cycle rollback_dag two_models policy_waits identity outages

.PHONY: test-system
test-system: $(STAMP) ## All of the following on one running stack (needs Chromium)
	$(PY) -m pytest -n $(WORKERS) -m long tests/plugins
	$(PY) -m pytest -m system $(SYSTEM:%=tests/system/test_%.py)

.PHONY: test-ui
test-ui: $(STAMP) ## Clicks in a real browser: trigger, approve, reject; a viewer cannot
	$(PY) -m pytest -m system tests/system/test_browser.py

.PHONY: test-doors
test-doors: $(STAMP) ## How a wait ends: every door of the approval, every odd mark
	$(PY) -m pytest -m system tests/system/test_doors.py tests/system/test_policy_waits.py

.PHONY: test-identity
test-identity: $(STAMP) ## Who decided, and who may: several users under SimpleAuthManager and FAB
	$(PY) -m pytest -m long tests/plugins/test_attacks.py
	$(PY) -m pytest -m system tests/system/test_identity.py

.PHONY: test-outages
test-outages: $(STAMP) ## Servers that are away or restarted while approvals wait
	$(PY) -m pytest -m system tests/system/test_outages.py

EXAMPLES ?= 10000

.PHONY: fuzz
fuzz: $(STAMP) ## Odd data and configurations, EXAMPLES=10000 of each kind; what is found is kept in tests/fuzz/corpus
	FUZZ_EXAMPLES=$(EXAMPLES) $(PY) -m pytest -n $(WORKERS) --timeout 0 tests/fuzz

.PHONY: bench
bench: bench-forecast bench-lifecycle ## Both of the following, two hours

.PHONY: bench-forecast
bench-forecast: $(STAMP) ## Time and memory of a retrain's steps, of features, a prediction and more stores, DATA=FOLDER (an hour)
	@mkdir -p "$(STATE_DIR)/bench"
	$(PY) -m tests.bench.pipeline $(if $(DATA),"$(DATA)") --json "$(STATE_DIR)/bench/steps.json"
	$(PY) -m tests.bench.pipeline --growth 0.25 1 4 --json "$(STATE_DIR)/bench/growth.json"
	$(PY) -m tests.bench.pipeline --growth 16 --row-share 0.125 --json "$(STATE_DIR)/bench/growth-16.json"
	$(PY) -m tests.bench.two_workers $(if $(DATA),"$(DATA)")
	$(PY) -m tests.bench.predictions $(if $(DATA),"$(DATA)")
	$(PY) -m tests.bench.threads --stores 60
	PYTHONPATH=. $(PY) tests/bench/features.py

.PHONY: bench-lifecycle
bench-lifecycle: $(STAMP) ## Parsing, clicks and waits; races, kills, sixty nights, a ledger of years, false alarms (an hour)
	$(PY) tests/bench/parsing.py
	$(PY) tests/bench/races.py --backend sqlite --case promote-promote --trials 50
	$(PY) tests/bench/races.py --backend sqlite --case promote-rollback --trials 50
	$(PY) tests/bench/races.py --backend sqlite --case promote-promote --trials 50 --no-lock
	$(PY) tests/bench/kills.py
	$(PY) tests/bench/kills.py --what decide
	$(PY) tests/bench/outbox_kills.py
	$(PY) tests/bench/replay.py
	$(PY) tests/bench/long_ledger.py
	$(PY) tests/bench/waiting.py
	PYTHONPATH=.:plugins $(PY) tests/bench/desk.py
	$(if $(DATA),$(PY) -m tests.bench.false_alarms "$(DATA)" --seeds 20 --stores 300)

.PHONY: test-docker
test-docker: $(STAMP) images ## The stack of docker-compose.yaml for real: two workers, a killed one, roles, backup (half an hour)
	$(PY) -m pytest -m docker tests/project/test_images.py
	$(PY) -m pytest -m docker tests/plugins/test_containers.py
	$(PY) -m pytest -m docker -s tests/system/test_same_model.py
	$(PY) -m pytest -m docker -s tests/system/test_compose.py

.PHONY: test-faults
test-faults: $(STAMP) images ## What can break in the stack while it retrains or waits, one by one (an hour)
	$(PY) -m pytest -m docker -s tests/system/test_compose_faults.py tests/system/test_compose_upgrade.py

##@ Deploy with Compose

.PHONY: env
env: ## Write .env for docker-compose.yaml: ports, addresses, generated secrets
	@$(find_python); "$$found" deploy/make_env.py .env

.PHONY: images
images: ## Build the images trainer, mlflow, engine and airflow (PYTHON_IMAGE=..., BUILD_ARGS=...)
	@for target in trainer mlflow engine airflow; do \
		name=retrain-$$target; \
		echo "Building $$name ..."; \
		docker build --quiet $(BUILD_ARGS) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) \
			--build-arg CODE_COMMIT=$$(git rev-parse HEAD) --target $$target --tag $$name . || exit 1; \
	done

.PHONY: scan-images
scan-images: ## Sizes of the images and what dominates them; fails on root, setuid, compilers, caches, secrets
	@$(find_python); "$$found" tests/bench/images.py $(if $(wildcard .env),--env-file .env)

.PHONY: up
up: ## Start the stack, with WORKERS_UP workers (2)
	@WORKERS_UP=$(WORKERS_UP) $(STACK) up

.PHONY: down
down: ## Stop the stack; its volumes stay, steps that run are tried again after the next up
	@$(STACK) down $(ARGS)

.PHONY: smoke
smoke: ## Check every part of the running stack, in a minute, and change nothing
	@$(STACK) smoke

.PHONY: users
users: ## Make logins for people in the running stack: make users WHO="anna:Approver olga:Op"
	@$(STACK) users $(WHO)

.PHONY: cli
cli: ## The command line on the running stack: make cli ARGS="history"; files are those of this folder
	@$(STACK) cli $(ARGS)

.PHONY: backup
backup: ## Save databases, artifacts and predictions of the running stack: make backup TO=folder
	@COMPOSE="$(COMPOSE)" deploy/backup.sh "$(TO)"

.PHONY: restore
restore: ## Put a backup back, over what the volumes hold: make restore FROM=folder
	@COMPOSE="$(COMPOSE)" deploy/restore.sh "$(FROM)"

.PHONY: logs
logs: ## Follow what the stack says
	@$(STACK) logs

##@ Upkeep

.PHONY: format
format: $(STAMP) ## Format the code and fix what ruff can fix
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: lock
lock: $(VENV)/bin/uv ## Renew constraints.txt from requirements.txt and what the images hold
	$(VENV)/bin/uv pip compile requirements.txt deploy/requirements-*.txt --universal --python-version 3.11 --no-header --no-annotate -o constraints.txt

.PHONY: screenshots
screenshots: $(STAMP) ## Take the README's pictures from a running `make run` (needs Chromium)
	PYTHONPATH=. $(PY) tests/ui/screenshots.py --state-dir "$(STATE_DIR)" --airflow-port $(AIRFLOW_PORT) --mlflow-port $(MLFLOW_PORT)

.PHONY: reset
reset: stop ## Delete the local stack's state: its models, runs, passwords and data registry
	rm -rf "$(STATE_DIR)"

.PHONY: clean
clean: ## Delete caches and virtual environments; the local stack's state stays (see reset)
	rm -rf $(VENV) $(VENV_ML) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)*' -prune -exec rm -rf {} +

$(STAMP): $(LOCK_INPUTS)
	@$(call install,$(VENV),-r requirements.txt)
	@touch $@

$(STAMP_ML): $(LOCK_INPUTS)
	@$(call install,$(VENV_ML),-r include/requirements.txt pytest pytest-timeout pytest-xdist)
	@touch $@

$(VENV)/bin/uv: | $(STAMP)
	@test -x $@ || $(VENV)/bin/pip install --quiet uv==$(UV_VERSION)
