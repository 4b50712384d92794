# make demo: a local environment, then a density learned in minutes and an HTML report.
# make test: the same environment with development tools, then lint, types and tests.
# make docs: the same with Sphinx; the documentation site, in build/docs.
# make test-oldest: tests with the oldest dependencies that are supported, in .venv-oldest.
# make distributions: wheel and source distribution, in dist, tried out outside of the repository.
# make first-report: the wheel with all it needs into an empty environment, and the time to a report.
# make audit: licences and known vulnerabilities of what is installed.

PYTHON ?= python3
# The build of PyTorch that the project is tested with; TORCH="torch" takes the newest.
TORCH ?= torch==2.13.0
# Processes that share the tests.
WORKERS ?= 2
BIN := .venv/bin
# Without compiling what is never imported: Python compiles the rest when it first is.
PIP := $(BIN)/pip install --quiet --no-compile

.PHONY: demo test lint docs test-oldest distributions first-report audit clean

demo: .venv/.installed
	$(BIN)/wgflow train eight-gaussians

# One thread a worker: on tensors as small as those of the tests, two threads wait for each other.
# Workers take runs of neighbouring tests, so that what a module shares is made once, rarely twice.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: .venv/.developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	. $(BIN)/activate && pyright

# A warning, such as a link that leads nowhere, is an error.
docs: .venv/.documenting
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

# The newest are those of `make test` in a new environment.
test-oldest: .venv-oldest/.developing
	OMP_NUM_THREADS=1 .venv-oldest/bin/pytest -n $(WORKERS) --dist worksteal

distributions: .venv/.installed
	$(PIP) "build>=1.2" "setuptools>=77"
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m tools.outside dist

first-report: distributions
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.outside dist --fetch "$(TORCH)"

audit: .venv/.installed
	$(PIP) "pip-licenses>=5" "pip-audit>=2.7"
	$(BIN)/python -m tools.audit

clean:
	rm -rf .venv .venv-oldest build dist docs/reference *.egg-info .pytest_cache .ruff_cache

.venv/.torch:
	$(PYTHON) -m venv .venv
	$(PIP) "$(TORCH)"
	touch $@

.venv/.installed: .venv/.torch pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/.developing: .venv/.torch pyproject.toml
	$(PIP) --editable ".[dev]"
	touch $@ .venv/.installed

.venv-oldest/.developing: pyproject.toml tools/oldest.py
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet packaging
	.venv-oldest/bin/python -m tools.oldest > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install --quiet --constraint .venv-oldest/constraints.txt --editable ".[dev]"
	touch $@

.venv/.documenting: .venv/.torch pyproject.toml
	$(PIP) --editable ".[docs]"
	touch $@ .venv/.installed
