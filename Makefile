# make setup     the virtual environment .venv, with .venv/bin/lamella
# make demo      simulate movies, make their tomogram and the average of its particles, write a report with pictures
# make test      the tests that run in minutes;  make test-all adds the long ones and those that need other programs
# make lint      format, style, types, and which room may import which
# make bench     accuracy, time and memory beside other programs
# make docs      the documentation site, into docs/_build/html

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
JOBS   ?= 2

.PHONY: setup demo test test-all bench docs lint format clean

setup: $(STAMP)

# The CPU build of torch where pip offers it, else the plain one. For a GPU: make setup CONSTRAINTS=constraints-gpu.txt
CONSTRAINTS ?= constraints.txt
$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("lamella needs Python 3.11 or newer; say which: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(CONSTRAINTS),constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0+cpu" 2>/dev/null \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/python scripts/demo.py demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS)

bench: $(STAMP)
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf demo build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
