# make demo       installs into .venv, tags the sample article, prints the table, writes demo/tags.jsonl
# make test       installs with what developers need, lints, type-checks, runs the quick tests
# make test-all   the same with the slow tests
# make clean      removes what these made
#
# All are safe to run again, and quick when nothing has changed. Needed: Python 3.11 or newer with pip and venv, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
# Nothing here asks a model hub, and torch keeps to the cores there are.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-all lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/detente tag examples/envoy.txt
	@mkdir -p demo
	$(BIN)/detente tag examples/envoy.txt --output demo/tags.jsonl --overwrite

test: lint
	$(BIN)/python -m pytest --cov -m "not slow"

test-all: lint
	$(BIN)/python -m pytest --cov

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "detente needs Python 3.11 or newer; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	@echo "installing detente into $(VENV), a few minutes the first time"
	$(PIP) -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/made pyproject.toml constraints.txt
	@echo "installing detente and its developers' tools into $(VENV), a few minutes the first time"
	$(PIP) -e ".[dev]"
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) demo build dist htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache model/*.egg-info training/*.egg-info *.egg-info
	find model training tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
