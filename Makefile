# icehouse. `make help` says what there is.
#
# Everything runs in a virtual environment of its own, one for each Python version (.venv-3.13, ...).
# PYTHON=python3.12 chooses one; without it tools/find-python takes the newest that it finds.

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

ifeq ($(filter help clean,$(or $(MAKECMDGOALS),help)),)
  override PYTHON := $(shell tools/find-python $(PYTHON))
  ifeq ($(PYTHON),)
    $(error no usable Python, see above)
  endif
  VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d%s" % (*sys.version_info[:2], sys.abiflags))')
endif

VENV := .venv-$(VERSION)
RUN := $(VENV)/bin/python

# What the tests and checks install beside the package.
EXTRAS ?= cli,dev,numpy,service
PYTEST_ARGS ?=

# Warnings in our own C are errors here; a user's `pip install` does not set this.
export ICEHOUSE_WERROR ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

FLAGS := werror=$(ICEHOUSE_WERROR) debug=$(ICEHOUSE_DEBUG) sanitize=$(ICEHOUSE_SANITIZE)

C_FOLDERS := native/arena native/arena/os native/image native/module
C_FILES := $(foreach folder,$(C_FOLDERS),$(wildcard $(folder)/*.c $(folder)/*.h))
# model/ is Promela, whatever its files are called.
C_ALL = $(shell find native -name '*.[ch]' -not -path '*/build/*' -not -path '*/model/*')

PIP := $(RUN) -m pip install -qq
INSTALL := $(PIP) --no-build-isolation --editable

.PHONY: help demo test check lint types unit test-c test-python soak bench format clean
.PHONY: sanitize sanitize-python fuzz model soak-python soak-sanitize-python soak-c

help:
	@echo "make demo      build and show what icehouse does"
	@echo "make test      every test, C and Python"
	@echo "make check     the quick part: lint, types, unit tests"
	@echo "make soak      the long forms: fuzzers, model checker, seeded simulations"
	@echo "make bench     the comparisons"
	@echo "make format    let ruff and clang-format have their way"
	@echo "make test-c    the C tests alone (they need no Python)"
	@echo "make sanitize | fuzz | model   C tests under ASan and UBSan | libFuzzer | spin"
	@echo "make soak-python | soak-sanitize-python | soak-c   the parts of soak"
	@echo "make sanitize-python           the Python tests with the modules under ASan and UBSan"
	@echo "make clean     remove what was built, environments included"
	@echo
	@echo "PYTHON=python3.12 chooses an interpreter; PYTEST_ARGS='-k handle -x' goes to pytest."

# --- environments and compiled modules ---

$(VENV)/bin/pip:
	@command -v cc >/dev/null || { echo "icehouse needs a C compiler (apt-get install gcc)"; exit 1; }
	@echo "Making an environment for Python $(VERSION) in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "setuptools>=77" "cffi>=1.17"

# `demo` installs what the command line needs, tests and checks install more.
$(VENV)/.demo: pyproject.toml setup.py | $(VENV)/bin/pip
	@echo "Installing icehouse and compiling its modules"
	@$(INSTALL) ".[cli]"
	@echo '$(FLAGS)' >$(VENV)/.flags
	@touch $@ $(VENV)/.built

$(VENV)/.dev: pyproject.toml setup.py | $(VENV)/bin/pip
	@echo "Installing icehouse with $(EXTRAS) and compiling its modules"
	@$(INSTALL) ".[$(EXTRAS)]"
	@echo '$(FLAGS)' >$(VENV)/.flags
	@touch $@ $(VENV)/.demo $(VENV)/.built

# A change of C needs no new installation.
$(VENV)/.built: $(C_FILES) $(wildcard native/ffi/build.py) $(VENV)/.flags
	@echo "Compiling what changed"
	@$(RUN) setup.py --quiet build_ext --inplace --force
	@touch $@

# Other switches of setup.py, other objects: see there.
$(VENV)/.flags: always
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@

.PHONY: always
.PHONY: demo-ready dev-ready
demo-ready: $(VENV)/.demo
	@$(MAKE) --silent PYTHON=$(PYTHON) $(VENV)/.built
dev-ready: $(VENV)/.dev
	@$(MAKE) --silent PYTHON=$(PYTHON) $(VENV)/.built

# --- what one comes for ---

demo: demo-ready
	@$(VENV)/bin/icehouse demo

test: test-c test-python

test-c:
	@$(MAKE) -C native/tests test

test-python: dev-ready
	@$(RUN) -m pytest $(PYTEST_ARGS)

check: lint types unit

lint: dev-ready
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/clang-format --dry-run --Werror $(C_ALL)

types: dev-ready
	@$(RUN) -m mypy
	@$(RUN) -m mypy tests/typing
	@$(RUN) -m pyright --pythonpath $(RUN)

unit: dev-ready
	@$(RUN) -m pytest -m "not packaging and not slow" $(PYTEST_ARGS)

format: dev-ready
	@$(RUN) -m ruff check --fix --quiet . || true
	@$(RUN) -m ruff format .
	@$(VENV)/bin/clang-format -i $(C_ALL)

bench: dev-ready
	@$(RUN) -m benchmarks $(BENCH_ARGS)

# --- long forms ---

FUZZ_SECONDS ?= 60
SOAK_FUZZ_SECONDS ?= 900

sanitize fuzz model:
	@$(MAKE) -C native/tests $@ FUZZ_SECONDS=$(FUZZ_SECONDS)

# CPython itself is not instrumented, so its runtime is loaded first, and leaks are not told.
sanitize-python: export ICEHOUSE_SANITIZE := address,undefined
sanitize-python: export ICEHOUSE_DEBUG := 1
sanitize-python:
	@$(MAKE) --silent PYTHON=$(PYTHON) EXTRAS=$(EXTRAS) dev-ready
	@LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	$(RUN) -m pytest -m "not packaging" $(PYTEST_ARGS)

# What has a long form (seeded loops, storms, every crash step, hypothesis) in that form, then the same
# under sanitizers, then C. Each line can be run by itself. ICEHOUSE_EXAMPLES: of each property, 20,000.
soak: soak-python soak-sanitize-python soak-c

soak-python soak-sanitize-python: export ICEHOUSE_SOAK := 1
soak-python: dev-ready
	@$(RUN) -m pytest -m soak $(PYTEST_ARGS)

soak-sanitize-python:
	@$(MAKE) PYTHON=$(PYTHON) EXTRAS=$(EXTRAS) PYTEST_ARGS="-m 'soak and not slow' $(PYTEST_ARGS)" \
	    sanitize-python

soak-c:
	@$(MAKE) -C native/tests soak FUZZ_SECONDS=$(SOAK_FUZZ_SECONDS)

clean:
	rm -rf .venv-* build dist *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find native -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -e native/tests/Makefile ]; then $(MAKE) -C native/tests clean; fi
