# `make help` lists the verbs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## the whole platform on this machine: exports, stores, gateway, training set (DEMO_ONCE=1 ends it there)
	@$(BIN)/python -m jobs.local.demo

test: $(INSTALLED) ## every test that needs neither a cluster nor a tool from outside Python's packages
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

check: $(INSTALLED) ## what needs no server: ruff, mypy, import-linter, unit tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/unit

lock: $(INSTALLED) ## resolve the dependencies of pyproject.toml again into the hash-locked requirements files
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-emit-package feature-platform --upgrade --quiet -o requirements-dev.txt
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
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
