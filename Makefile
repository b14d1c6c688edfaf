# `make demo` and `make test` set everything up on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint readme clean

demo: $(INSTALLED)
	$(BIN)/clipbench run benchmarks/quickstart.yaml
	$(BIN)/clipbench compare results/quickstart

test: lint
	$(BIN)/python -m pytest -n auto

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch goes first and by its exact version: asked for by a range, pip would fetch a newer and far larger build.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# The README's tables and lists, from the reference runs and the shelves.
readme: $(INSTALLED)
	$(BIN)/python -m clipbench.report.readme README.md results/reference

clean:
	rm -rf $(VENV)
