# What a person or a build machine asks of this project. Needs python3 (3.11 or later) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV ?= uv
ARGS ?=

.PHONY: help run test long clients s3-tests docs lint types bench-quick lock clean

help:
	@echo "make run      install into $(VENV) and serve ./data on 127.0.0.1:3000 (ARGS='--workers 2')"
	@echo "make test     install what tests need and run them"
	@echo "make long     the tests that take minutes or gigabytes"
	@echo "make clients  the tests that drive rclone, aws, s3cmd and SDKs"
	@echo "make s3-tests S3_TESTS=DIR   run a checkout of ceph/s3-tests, in every mode"
	@echo "make docs     write docs/s3-compatibility.md from the code"
	@echo "make bench-quick  every benchmark, tiny: proves that the harness works"
	@echo "make lint     ruff"
	@echo "make types    mypy --strict"
	@echo "make clean    remove $(VENV) and what was built"
	@echo "make lock     resolve the requirements anew (needs uv)"

run: $(VENV)/.installed
	$(BIN)/dsn-gateway serve --data-dir ./data $(ARGS)

test: $(VENV)/.installed-tests
	$(BIN)/pytest -n auto --dist loadfile $(ARGS)

long: $(VENV)/.installed-tests
	$(BIN)/pytest -m long $(ARGS)

clients: $(VENV)/.installed-clients
	$(BIN)/pytest -m clients $(ARGS)

s3-tests: $(VENV)/.installed-tests
	$(BIN)/python -m tests.conformance.s3_tests $(S3_TESTS) $(ARGS)

docs: $(VENV)/.installed-tests
	$(BIN)/python -m tests.conformance.compatibility

lint: $(VENV)/.installed-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-tests
	$(BIN)/mypy

bench-quick: $(VENV)/.installed
	$(BIN)/dsn-gateway bench run --quick --verify --peer dsn,sendfile $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info dsn/*.so

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# Wheels only: nothing runs code of a package while installing it. Of ours, two extensions are
# compiled where there is a compiler and Python's headers; without them hashing is slower, no more.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --only-binary :all: --require-hashes

$(VENV)/.installed: requirements.lock pyproject.toml setup.py $(wildcard dsn/*.c dsn/*.h) | $(BIN)/python
	$(LOCKED) -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-tests: requirements-test.lock $(VENV)/.installed
	$(LOCKED) -r requirements-test.lock
	touch $@

# Beside what tests need, clients of S3: one of them holds boto3 at an older version.
$(VENV)/.installed-clients: requirements-clients.lock $(VENV)/.installed-tests
	$(LOCKED) -r requirements-clients.lock
	touch $@

# The build tool is pinned with the rest, so that an installation fetches nothing unpinned.
COMPILE := $(UV) pip compile --universal --python-version 3.11 --only-binary :all: \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

lock:
	echo 'setuptools>=77' | $(COMPILE) $(ARGS) pyproject.toml - -o requirements.lock
	$(COMPILE) $(ARGS) --extra test -c requirements.lock pyproject.toml -o requirements-test.lock
	$(COMPILE) $(ARGS) --extra test --extra clients -c requirements.lock pyproject.toml \
		-o requirements-clients.lock
