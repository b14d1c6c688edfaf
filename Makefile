# `make demo` and `make test` set everything up on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo check test lint format docs readme clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 10

demo: $(VENV)/.report ## run the quickstart, compare its arms and write a page with pictures
	$(BIN)/clipbench run benchmarks/quickstart.yaml
	@test -t 1 || $(BIN)/clipbench compare results/quickstart # on a terminal, run has shown it
	$(BIN)/clipbench report results/quickstart -o results/quickstart.html

check: lint ## lint, types, imports and the fast tests: about two minutes on two cores
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow"

test: lint docs ## the same with all tests
	$(BIN)/python -m pytest -n auto --dist loadgroup

lint: $(VENV)/.dev ## formatting, rules, types and which module may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## bring the code into its form, and mend what ruff can
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

# torch goes first and by its exact version: asked for by a range, pip would fetch a newer and far larger build.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.report: $(VENV)/.core
	$(PIP) --editable '.[report]'
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[dev]'
	touch $@

docs: $(VENV)/.docs ## the documentation as a site, in docs/_build
	$(BIN)/sphinx-build -W --keep-going --quiet docs docs/_build

$(VENV)/.docs: $(VENV)/.core
	$(PIP) --editable '.[docs]'
	touch $@

readme: $(VENV)/.report ## the tables, lists and pictures of README and docs, from the reference runs and the shelves
	$(BIN)/python -m clipbench.report.readme results/reference README.md docs/*.md

clean: ## remove the virtual environment and what is built
	rm -rf $(VENV) docs/_build docs/generated
