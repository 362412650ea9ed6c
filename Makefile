# Every command that we use. `make help` lists them. `uv` is brought along if it is missing.

UV := $(shell command -v uv 2>/dev/null || echo .uv-bin/bin/uv)
RUN := $(UV) run --frozen
PYTHON ?= python3

.DEFAULT_GOAL := help
DATA ?= ../shared/data

.PHONY: help setup demo study test test-quick chaos lint types imports proto proto-check nats-permissions nats-permissions-check bench clean dashboards metrics chart images up down sbom audit

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

.uv-bin/bin/uv:
	$(PYTHON) -m venv .uv-bin
	.uv-bin/bin/python -m pip install --quiet --disable-pip-version-check uv

setup: $(UV)  ## install everything into .venv
	$(UV) sync --frozen --quiet

demo: setup  ## trade a synthetic market through all services; results in var/demo
	$(RUN) breakwater demo --out var/demo

study: setup  ## make docs/study.md and its graphics from the candles in DATA (../shared/data); pages in var/study
	$(RUN) breakwater study --data $(DATA) --document docs/study.md --out var/study

test: setup  ## all tests; PROCESSES=n runs them in n processes
	$(RUN) pytest -n $(or $(PROCESSES),0) --dist loadgroup

test-quick: setup  ## the tests that take less than ten seconds each
	$(RUN) pytest -m "not slow"

chaos: setup  ## play recordings while everything dies, hangs and lies, and check the books; SEEDS=n (20), FIRST=n
	$(RUN) python -m tests.e2e.chaos --seeds $(or $(SEEDS),20) --first $(or $(FIRST),0) --out var/chaos

lint: setup  ## style, formatting, types, import rules, drift of generated files
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(MAKE) --no-print-directory types imports proto-check nats-permissions-check
	$(RUN) python deploy/k8s/generate.py --check

types: setup  ## mypy --strict
	$(RUN) mypy $(filter-out libs/contracts/src,$(wildcard libs/*/src services/*/src tools/*/src)) bench

imports: setup  ## the import rules of pyproject.toml
	$(RUN) lint-imports

proto: setup  ## generate the message classes from proto/
	$(RUN) python -m grpc_tools.protoc -Iproto --python_out=libs/contracts/src --pyi_out=libs/contracts/src \
	  $$(find proto -name '*.proto' | sort)

proto-check: setup  ## fail if the committed message classes are not those of proto/
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(RUN) python -m grpc_tools.protoc -Iproto --python_out="$$scratch" --pyi_out="$$scratch" \
	  $$(find proto -name '*.proto' | sort) && \
	for file in $$(cd "$$scratch" && find . -type f); do \
	  cmp -s "$$scratch/$$file" "libs/contracts/src/$$file" || { echo "$$file is not what proto/ gives: make proto"; exit 1; }; \
	done && echo "generated message classes match proto/"

nats-permissions: setup  ## write deploy/k8s/files/authorization.conf from breakwater_runtime.permissions
	mkdir -p deploy/nats
	$(RUN) python -m breakwater_runtime.permissions > deploy/k8s/files/authorization.conf

nats-permissions-check: setup  ## fail if deploy/k8s/files/authorization.conf is not what the code gives
	@$(RUN) python -m breakwater_runtime.permissions --check deploy/k8s/files/authorization.conf

dashboards: setup  ## write the Grafana dashboards from deploy/observability/generator
	$(RUN) python -m deploy.observability.generator

metrics: setup  ## write docs/metrics.md from the metrics that the code declares
	$(RUN) python -m tests.deploy.observability.write_metrics_table

chart: setup  ## make values.schema.json and README.md of deploy/k8s from its values.yaml and the code
	$(RUN) python deploy/k8s/generate.py

IMAGES := market-data signal executor reporter notifier paper-exchange cli
IMAGE_PREFIX ?= breakwater
SOURCE ?= unknown
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)
REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

images:  ## build an image per service; IMAGE_PREFIX=breakwater, IMAGE_TAG=the version, SOURCE=address of the repository
	@for target in $(IMAGES); do \
	  docker build --quiet -f deploy/docker/Dockerfile --target $$target --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) -t $(IMAGE_PREFIX)/$$target:$(or $(IMAGE_TAG),$(VERSION)) . >/dev/null || exit 1; \
	  echo "$(IMAGE_PREFIX)/$$target:$(or $(IMAGE_TAG),$(VERSION))"; \
	done

up:  ## the whole system in containers, trading a synthetic recording; docs/compose.md
	docker compose up -d --build --wait
	@echo "reports: http://$$(docker compose port reporter 8080)/docs   metrics: http://$$(docker compose port prometheus 9090)"

down:  ## stop it and forget everything: books, recording, passwords
	docker compose --profile "*" down --volumes --remove-orphans

sbom: setup  ## write a CycloneDX bill of materials of each image to var/sbom
	$(RUN) python deploy/docker/sbom.py $(UV) var/sbom

audit: setup  ## ask vulnerability services about every locked package; fails if one is vulnerable, or nobody can tell
	$(RUN) python deploy/docker/audit.py $(UV)

bench: setup  ## print the figures of bench/
	$(RUN) python -m bench

clean:  ## remove what runs and builds leave behind
	rm -rf var .venv .uv-bin .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
