# The commands of the README. They run in .venv, which is installed from requirements.hashes:
# the versions of requirements.lock, each file compared with its checksum.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
# pip's notice about itself would be among the last lines of `make docs` and `make install`.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: repro install test test-quick lint docs audit sbom dist ui clean

repro: install  ## install, then run the pipeline: labelled images to a registered model
	dvc repro

install: $(INSTALLED)

$(INSTALLED): requirements.hashes pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --use-pep517 \
		--requirement requirements.hashes
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# One process per core, each with one thread: the computations are too small to gain from threads.
# Modules are distributed in the order of tests/conftest.py: those with slow tests first.
test test-quick: export OMP_NUM_THREADS := 1
test test-quick: PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadscope --no-loadscope-reorder

test: install  ## every test
	$(PYTEST)

test-quick: install  ## the tests of less than half a second each
	$(PYTEST) -m "not slow"

lint: install  ## format, style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

# Sphinx has an environment of its own, since the pipeline must not depend on it. It imports the
# package, to read its docstrings, with the libraries of .venv.
DOCS := .venv-docs
docs: export PYTHONPATH = $(shell $(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
docs: install  ## the documentation as a site in out/docs, which works without a server
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement docs/requirements.hashes
	$(DOCS)/bin/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs \
		--doctree-dir out/docs-doctrees . out/docs
	@echo "Open out/docs/index.html"

# The tools have an environment of their own, since the pipeline must not depend on them.
AUDIT := .venv-audit
$(AUDIT)/.installed: Makefile
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet bandit build cyclonedx-bom pip-audit twine
	touch $@

audit: sbom  ## risky code, a bill of materials, known vulnerabilities of the lock
	$(AUDIT)/bin/bandit --quiet --recursive --configfile pyproject.toml src
	$(AUDIT)/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

sbom: $(AUDIT)/.installed  ## a bill of materials of the lock: out/sbom.json
	mkdir -p out
	$(AUDIT)/bin/cyclonedx-py requirements requirements.lock --output-file out/sbom.json

dist: $(AUDIT)/.installed  ## sdist, and the wheel that is built from it, checked
	rm -rf dist
	$(AUDIT)/bin/python -m build
	$(AUDIT)/bin/twine check --strict dist/*

ui: install  ## browse runs and models at http://127.0.0.1:5000
	$(BIN)/maskmill ui

clean:  ## remove the pipeline's outputs; runs and models stay in MLflow
	rm -rf $(AUDIT) $(DOCS) build dist docs/reference out outputs multirun .pytest_cache .ruff_cache .hypothesis
