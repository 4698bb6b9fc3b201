# Set-up needs Python 3.11, make and a package index. `make demo` and `make test` create what is missing.
PYTHON ?= python3.11
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q

.PHONY: demo test test-slow check fix bench bench-skill clean

demo: .venv/installed
	$(BIN)/stockrnn train
	$(BIN)/stockrnn predict

test: .venv/developer
	$(PYTEST) -n 2 --dist loadfile -m "not slow"

# Hours on two cores: the slow tests, half an hour of random runs, half an hour of changed code.
test-slow: .venv/developer
	$(PYTEST) -m slow
	$(BIN)/python -m tests.soak 30
	$(BIN)/python -m tests.mutation

check: .venv/developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

fix: .venv/developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m tests.generate README.md

bench: .venv/developer
	$(BIN)/python -m tests.benchmarks

# Price files that the skill of forecasts is compared on with neuralforecast and darts.
DATA ?= ../shared/data/bench

bench-skill: .venv/developer
	$(BIN)/python -m tests.benchmarks skill -- $(DATA)

clean:
	rm -rf .venv .bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/developer: .venv/installed
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
