# `make demo` and `make test` set everything up on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint readme clean

demo: $(VENV)/.core
	$(BIN)/clipbench run benchmarks/quickstart.yaml
	$(BIN)/clipbench compare results/quickstart

test: lint
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch goes first and by its exact version: asked for by a range, pip would fetch a newer and far larger build.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[dev]'
	touch $@

# The README's tables and lists, from the reference runs and the shelves.
readme: $(VENV)/.core
	$(BIN)/python -m clipbench.report.readme README.md results/reference

clean:
	rm -rf $(VENV)
