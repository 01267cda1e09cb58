# Everything here runs on a fresh machine with Python 3.11+, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRA  ?= cpu
PIP    := $(BIN)/python -m pip --disable-pip-version-check
MODEL  ?=

ZOO    := $(shell find models/certisolve_export models/certisolve_zoo -name '*.py')

.DEFAULT_GOAL := help
.PHONY: help setup serve up up-local down models train baselines test test-certifier test-zoo test-fleet test-service test-slow check format proto bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.serve: pyproject.toml client/pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the server into $(VENV) (once; a few minutes)"
	@$(PIP) install --progress-bar on -c constraints.txt -e ./client -e '.[$(EXTRA),plot]'
	@touch $@

$(VENV)/.dev: pyproject.toml client/pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing server and tools into $(VENV) (once; a few minutes)"
	@$(PIP) install --progress-bar on -c constraints.txt -e ./client -e '.[$(EXTRA),dev]'
	@$(PIP) install --progress-bar on -c constraints.txt --no-deps neuraloperator
	@touch $@ $(VENV)/.serve

setup: $(VENV)/.dev  ## install everything for development

serve: $(VENV)/.serve models/artifacts/.built  ## serve the bundled models on 127.0.0.1:8000 and :8001
	@$(BIN)/certisolve serve

up:  ## Redis, gateway, two workers and Prometheus in containers
	@docker compose up --build --detach --wait

down:  ## stop them; volumes stay
	@docker compose down

up-local: $(VENV)/.serve models/artifacts/.built .tools/redis-server  ## the same as plain processes, without Docker
	@$(BIN)/python tools/up_local.py

models: models/artifacts/.built  ## build the artifacts of the bundled models from the weights in git

models/artifacts/.built: $(VENV)/.serve $(wildcard models/weights/*) $(ZOO)
	@$(BIN)/python -m certisolve_zoo build
	@touch $@

train: $(VENV)/.serve  ## reproduce the weights of MODEL from its seed
	@test -n "$(MODEL)" || { echo "usage: make train MODEL=burgers1d-fno"; exit 2; }
	@$(BIN)/python -m certisolve_zoo train $(MODEL)

baselines: $(VENV)/.serve  ## re-time every model beside its classical solver
	@$(BIN)/python -m certisolve_zoo baselines $(MODEL)

test: $(VENV)/.dev models/artifacts/.built .tools/redis-server  ## run the tests
	@$(MAKE) --no-print-directory -j3 -k test-certifier test-fleet test-service test-zoo

# Side by side: what only computes, what mostly waits for processes that start and die, and the rest.
test-certifier:
	@OMP_NUM_THREADS=1 nice -n 3 $(BIN)/python -m pytest tests/server/certifier

test-zoo:
	@OMP_NUM_THREADS=1 nice -n 3 $(BIN)/python -m pytest tests/zoo

test-fleet:
	@PATH="$(CURDIR)/.tools:$$PATH" $(BIN)/python -m pytest tests/e2e

test-service:
	@PATH="$(CURDIR)/.tools:$$PATH" $(BIN)/python -m pytest --ignore=tests/server/certifier --ignore=tests/zoo --ignore=tests/e2e

test-slow: $(VENV)/.dev models/artifacts/.built .tools/redis-server  ## run those that take minutes
	@PATH="$(CURDIR)/.tools:$$PATH" $(BIN)/python -m pytest -m slow

check: $(VENV)/.dev  ## formatting, lint, types, import directions, generated code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests/client/api_as_used.py
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_proto.py
	@$(BIN)/python tools/check_version.py
	@$(BIN)/hadolint Dockerfile

format: $(VENV)/.dev  ## format and mend what lint can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: $(VENV)/.dev  ## generate client/certisolve/v1 from proto/
	@$(BIN)/python tools/check_proto.py --write

bench: $(VENV)/.dev models/artifacts/.built .tools/redis-server  ## measure the doors, and the hop through Redis
	@$(BIN)/python benchmarks/doors.py
	@PATH="$(CURDIR)/.tools:$$PATH" $(BIN)/python benchmarks/queue.py

.tools/redis-server: | $(VENV)/.serve
	@tools/find_redis.sh $@ $(BIN)/python

clean:  ## remove everything that was built or installed
	rm -rf $(VENV) .tools models/artifacts models/runs
