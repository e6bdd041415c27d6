# `make help` lists the verbs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= feature-platform:$(VERSION)
NAMESPACE ?= feature-platform
CLUSTER ?= feature-platform
KIND_CONFIG ?= k8s/kind.yaml
KIND_NODE_IMAGE ?=
# Where `load` goes, how fast and how long.
URL ?= http://localhost:8080
RATE ?= 200
SECONDS ?= 60
HOST ?=
USERS ?=
# A command that installs an ingress controller on NodePort 30080, the Gateway API and the metrics API.
CLUSTER_ADDONS ?=
# Brings Docker, kind, a node image and add-ons to a machine that reaches no container registry.
CLUSTER_KIT ?= ../shared/kindkit/kindkit
# Two Helms render the chart; the CRDs of custom kinds are files, also compressed by zstd, or folders of files.
HELM ?= helm
HELM3 ?= helm3
CRDS ?= $(wildcard $(addprefix $(dir $(CLUSTER_KIT)),crds monitoring/crds.yaml.zst))
# Prometheus' own tool; without it, it is run from Prometheus' image.
PROMTOOL ?=
export HELM HELM3 CRDS PROMTOOL
export IMAGE CLUSTER KIND_CONFIG KIND_NODE_IMAGE CLUSTER_ADDONS CLUSTER_KIT

.DEFAULT_GOAL := help
.PHONY: help demo test test-page test-chart test-rules check image kind-up kind-down e2e e2e-smoke bench-serving bench-engine load materialize chart-docs lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## the whole platform on this machine: exports, stores, gateway, training set (DEMO_ONCE=1 ends there)
	@$(BIN)/python -m jobs.local.demo

test: $(INSTALLED) ## every test that needs neither a cluster nor a tool from outside Python's packages
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

test-page: $(INSTALLED) ## the gateway's pages in a real Chromium (CHROMIUM=); pictures of it in build/page
	@$(BIN)/python -m tests.page.tools
	@$(BIN)/python -m pytest tests/page

test-chart: $(INSTALLED) ## the chart without a cluster: values, schemas, two Helms (HELM= HELM3= CRDS=)
	@{ command -v $(HELM) && command -v $(HELM3); } >/dev/null || [ ! -x $(CLUSTER_KIT) ] || $(CLUSTER_KIT) up
	@$(BIN)/python -m tests.chart.tools
	@$(BIN)/python -m pytest -n 2 --dist worksteal tests/chart

test-rules: $(INSTALLED) ## the alert rules in Prometheus' promtool, and their runbooks (HELM= PROMTOOL=)
	@{ command -v $(HELM) && { command -v $(or $(PROMTOOL),promtool) || docker info; }; } >/dev/null 2>&1 \
		|| [ ! -x $(CLUSTER_KIT) ] || $(CLUSTER_KIT) up
	@$(BIN)/python -m tests.rules.promtool
	@$(BIN)/python -m pytest tests/rules

check: $(INSTALLED) ## what needs no server: ruff, mypy, import-linter, unit tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/unit

image: ## build the one image of the platform (IMAGE=)
	@k8s/cluster engine
	@echo "building $(IMAGE) ..."
	@docker build --quiet --file k8s/Dockerfile --build-arg VERSION=$(VERSION) --tag $(IMAGE) .

kind-up: image ## a kind cluster with the image, repeatable (CLUSTER= KIND_CONFIG= KIND_NODE_IMAGE= CLUSTER_ADDONS=)
	@k8s/cluster up

kind-down: ## remove that cluster (CLUSTER=)
	@k8s/cluster down

e2e: $(INSTALLED) ## the whole platform on a kind cluster of its own; what failed is in build/e2e (HELM=)
	@k8s/cluster tools
	@$(BIN)/python -m pytest tests/e2e

e2e-smoke: $(INSTALLED) ## the first part of that: install, ingest, materialize, serve, build a training set
	@k8s/cluster tools
	@$(BIN)/python -m pytest tests/e2e/test_smoke.py

bench-serving: $(INSTALLED) ## the gateway beside other servers of the same features (needs wrk); ratios in build/bench
	@$(BIN)/python -m tests.bench.serving

bench-engine: $(INSTALLED) ## materialization and training sets beside stock Feast and floors; ratios in build/bench
	@$(BIN)/python -m tests.bench.engine

# API_KEY, if there is one, goes by the environment: a process's arguments are everyone's to read.
load: $(INSTALLED) ## single reads at a rate, wherever the gateway is ([URL=] [RATE=] [SECONDS=] [HOST=] [USERS=FILE])
	@$(BIN)/python -m tests.bench.load --url='$(URL)' --rate='$(RATE)' --seconds='$(SECONDS)' --host='$(HOST)' \
		$(if $(USERS),--users='$(USERS)')

materialize: $(INSTALLED) ## materialize a release in kubectl's cluster (AS_OF= [ROLLBACK=1] [NAMESPACE=] [RELEASE=])
	@$(BIN)/python -m jobs.local.by_hand --as-of='$(AS_OF)' $(if $(filter 1,$(ROLLBACK)),--rollback) \
		--namespace='$(NAMESPACE)' --release='$(RELEASE)'

chart-docs: $(INSTALLED) ## write the chart's values.schema.json, the values in its README and its dashboards from their source
	@$(BIN)/python charts/document_values.py
	@$(BIN)/python -m charts.dashboards

lock: $(INSTALLED) ## resolve the dependencies of pyproject.toml again into the hash-locked requirements files
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-emit-package feature-platform --upgrade --quiet -o requirements-dev.txt
	@$(BIN)/uv pip compile pyproject.toml --extra ray --extra tracing --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --constraint requirements-dev.txt --quiet -o requirements.txt

clean: ## remove what the other verbs made
	@rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(INSTALLED): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; $(PYTHON) is `$(PYTHON) --version`. Say PYTHON=python3.13, for example." >&2; exit 2; }
	@echo "installing the locked packages into $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
