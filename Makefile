# The two commands that matter are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
# Hundreds of processes begin with what the first has compiled.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# MODE: local, cluster, or auto (a cluster when one is at hand, else local).
MODE ?= auto
ARGS ?=
# How many test files run side by side (JOBS=2): they wait for most of their time.
JOBS ?=

.DEFAULT_GOAL := help
.PHONY: help demo clean
.PHONY: test test-unit test-cluster test-servers test-pythons
.PHONY: bench-library bench-worker bench-against bench-limits bench-operator bench-hpa bench-from-zero evidence simulate chaos
.PHONY: lint format types sync-face
.PHONY: dashboards
.PHONY: images
.PHONY: cluster-up
.PHONY: cluster-down
.PHONY: locks
.PHONY: version
.PHONY: release
.PHONY: release-check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "RedisQueue needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)…"
	@$(PYTHON) -m venv $(VENV)

# Two stamps, so that the demo does not wait for the developers' tools.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing the library, the worker and local mode into $(VENV) (about half a minute)…"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[worker,local]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing everything that development needs into $(VENV)…"
	@$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]' || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' # an index that pip alone was told of
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## Run the main job on real input (MODE=local|cluster|auto)
	@MODE=$(MODE) tests/cluster/demo $(ARGS)

test: $(VENV)/.dev ## Run the tests; the cluster's too with CLUSTER=native|kind|current or CI=true
	@$(BIN)/pytest $(if $(JOBS),--numprocesses $(JOBS) --no-loadscope-reorder) $(ARGS)

test-unit: $(VENV)/.dev ## Run only the tests that need neither server nor cluster
	@$(BIN)/pytest tests/unit tests/golden $(ARGS)

test-cluster: $(VENV)/.dev ## Run only the tests on a real cluster (builds a native one where neither kind nor a cluster is named)
	@CLUSTER=$${CLUSTER:-native} $(BIN)/pytest tests/e2e $(ARGS)

bench-library: $(VENV)/.dev ## Measure the library against 7.0.0 and its peers (ARGS="--quick --json FILE")
	@$(BIN)/python -m tests.bench.library $(ARGS)

bench-worker: $(VENV)/.dev ## Measure whole workers, ours beside the peers' (ARGS="--quick --json FILE")
	@$(BIN)/python -m tests.bench.worker $(ARGS)

.PHONY: bench-losses
bench-losses: $(VENV)/.dev ## Count what workers, ours and the peers', lose and double when something dies (ARGS="--only ours asynq --json FILE")
	@$(BIN)/python -m tests.bench.losses $(ARGS)

bench-against: $(VENV)/.dev ## Measure the library and the worker beside an older build of ours (REV=a commit, ARGS="--only worker")
	@$(BIN)/python -m tests.bench.against $(REV) $(ARGS)

bench-limits: $(VENV)/.dev ## Watch limits for a minute, how tenants wait for each other, what a claim costs then (ARGS="--only cost")
	@$(BIN)/python -m tests.bench.limits $(ARGS)

.PHONY: bench-ceilings bench-held
bench-ceilings: $(VENV)/.dev ## Measure how far one queue goes, and what each call costs as it grows (ARGS="--quick --json FILE")
	@$(BIN)/python -m tests.bench.ceilings $(ARGS)

bench-held: $(VENV)/.dev ## Hold 70 % of what workers can for half an hour: nothing may grow (ARGS="--minutes 10")
	@$(BIN)/python -m tests.bench.held $(ARGS)

bench-operator: $(VENV)/.dev ## Measure the operator: reaction, burst, fleets of 300 and 1,000 (ARGS="--quick --json FILE")
	@$(BIN)/python -m tests.bench.fleet $(ARGS)

bench-hpa: $(VENV)/.dev ## Measure the operator beside the HorizontalPodAutoscaler of Kubernetes 1.37 (ARGS="--quick --json FILE")
	@KUBERNETES=1.37 $(BIN)/python -m tests.bench.hpa $(ARGS)

bench-from-zero: $(VENV)/.dev ## Measure on a real cluster from a message to its handler, with no worker (ARGS="--rounds 30 --json FILE")
	@$(BIN)/python -m tests.bench.from_zero $(ARGS)

evidence: $(VENV)/.dev ## Measure all of that, and write the tables of the pages (ARGS="--only library --quick")
	@$(BIN)/python -m tests.bench.evidence $(ARGS)

chaos: $(VENV)/.dev ## Break things at random on a real cluster under load, and compare the books (ARGS="--seed 7 --plot chaos.svg")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: chaos-local
chaos-local: $(VENV)/.dev ## The same without a cluster, with processes of this machine (ARGS="--brief": two minutes)
	@$(BIN)/python -m tests.chaos.local $(ARGS)

simulate: $(VENV)/.dev ## Play loads against our scaling and a model of KEDA (ARGS="--load burst --json FILE")
	@$(BIN)/python -m tests.simulate $(ARGS)

.PHONY: pictures
pictures: $(VENV)/.dev ## Draw the pictures of the docs, with a Chromium of this machine (ARGS="page --folder FOLDER")
	@$(BIN)/python -m tests.pictures $(ARGS)

test-pythons: $(VENV)/.dev ## Run a smoke set on each other supported Python that is installed
	@tests/support/each_python $(ARGS)

test-servers: $(VENV)/.dev ## Run the conformance tests on each kind of server, with the newest and oldest redis-py
	@$(BIN)/python -m tests.support.each_server $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/python worker/sync_face.py --check
	@$(BIN)/python -m helm.dashboards --check
	@$(BIN)/mypy

sync-face: $(VENV)/.dev ## Write the library's sync face from its asyncio face
	@$(BIN)/python worker/sync_face.py

dashboards: $(VENV)/.dev ## Write the dashboards of the chart
	@$(BIN)/python -m helm.dashboards

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix
	@$(BIN)/python worker/sync_face.py

locks: $(VENV)/.dev ## Pin what the images install, by hash (ARGS="--upgrade" for the newest)
	@for part in worker operator; do $(BIN)/uv pip compile --quiet --generate-hashes --universal --no-annotate \
	  --python-version 3.11 --extra $$part --custom-compile-command "make locks" $(ARGS) \
	  --output-file $$part/requirements.txt pyproject.toml || exit 1; done

version: $(VENV)/.dev ## Tell the version, or write it to every place (NEW=1.2.3)
	@$(BIN)/python -m tests.release version $(NEW)

release-check: $(VENV)/.dev ## Check all of a release that this machine can (ARGS="--tag v1.2.3")
	@$(BIN)/python -m tests.release check $(ARGS)

release: $(VENV)/.dev ## Build wheel, source distribution and charts into dist/
	@$(BIN)/python -m tests.release build dist

images: $(VENV)/.dev ## Build the worker's and the operator's image (BASE_IMAGE=python:3.13-slim)
	@tests/cluster/cluster images

cluster-up: $(VENV)/.dev ## Start a local Kubernetes (again, when it is up) and load the images
	@tests/cluster/cluster up >/dev/null && tests/cluster/cluster images && tests/cluster/cluster use

cluster-down: ## Stop it and leave nothing behind
	@tests/cluster/cluster down

clean: ## Remove virtual environments and caches of this folder
	@rm -rf $(VENV) .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
