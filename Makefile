# Everything runs in a virtual environment with locked dependencies, made on first use.
# An interpreter that you name (`make test PYTHON=python3.12`) gets an environment of its own.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Where it is set, every process would compile jax's sources to bytecode anew: 15 seconds.
unexport PYTHONDONTWRITEBYTECODE
# Huge pages: a step on a CPU touches much fresh memory, and is a sixth faster with them (glibc).
export GLIBC_TUNABLES := glibc.malloc.hugetlb=1

# Prints the version of an interpreter that is new enough, nothing for any other.
PRINT_VERSION = -c 'import sys; v = sys.version_info; print("%d.%d" % v[:2]) if v >= (3, 11) else exit(1)' 2>/dev/null

ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for p in python3.11 python3.12 python3; do \
  $$p $(PRINT_VERSION) >/dev/null && echo $$p && break; done)
VENV := .venv
else
VENV = .venv-$(VERSION)
endif

VERSION := $(if $(PYTHON),$(shell $(PYTHON) $(PRINT_VERSION)))
LOCK := requirements/$(if $(filter 3.11,$(VERSION)),py311,py312).txt
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed-$(VERSION)
SYSTEM_PACKAGES := fonts-noto-color-emoji unicode-cldr-core unicode-data espeak-ng

.PHONY: help quickstart test test-slow fuzz lint format lock clean python system

help:  ## shows the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

quickstart: $(INSTALLED)  ## trains a tiny model on text, label and audio, and shows its samples
	$(BIN)/python launch/quickstart.py --workdir=runs/quickstart

test: $(INSTALLED) system lint  ## checks style and runs all tests but the slow ones
	# Where a worker dies, pytest-xdist waits for ever for what it has lost, unless it may restart none.
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile \
	  --max-worker-restart=0 --durations=20

test-slow: $(INSTALLED) system  ## runs the slow tests, for TPUs too, and the comparisons with PyTorch
	$(BIN)/python -m pip install --quiet --editable='.[reference]'
	# One of another build than torch only breaks what looks for it.
	$(BIN)/python -c 'import torchvision' 2>/dev/null || $(BIN)/python -m pip uninstall --quiet --yes torchvision
	test -d $(VENV)/tpu-compile/libtpu \
	  || $(BIN)/python -m pip install --quiet --no-deps --target=$(VENV)/tpu-compile libtpu==0.0.52
	$(BIN)/python -m pytest -m "slow or reference" --numprocesses=2 --dist=loadfile \
	  --max-worker-restart=0

fuzz: $(INSTALLED)  ## throws hostile input at everything that reads some; minutes
	$(BIN)/python -m tools.fuzz

lint: $(INSTALLED)  ## checks style
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shellcheck launch/*.sh launch/*.sbatch

format: $(INSTALLED)  ## rewrites the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(INSTALLED)  ## regenerates requirements/ from setup.py, with the newest versions
	for version in 3.11 3.12; do \
	  $(BIN)/python -m uv pip compile setup.py --extra=test --extra=data --extra=words --extra=demo --upgrade \
	    --python-version=$$version --universal --fork-strategy=fewest \
	    --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command='make lock' \
	    --quiet --output-file=requirements/py$${version/./}.txt; \
	done

clean:  ## removes environments, caches and build outputs; keeps runs/ and data/
	rm -rf .venv .venv-* .cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@$(or $(and $(VERSION),:),$(error mmgen_jax needs Python 3.11 or newer; $(or $(PYTHON),none) is older or does not run; \
	  try `make ... PYTHON=/path/to/python3.11`))

# uv installs in a fifth of pip's time, but does not read pip's configuration (mirrors, proxies):
# where it fails, pip does the work.
$(INSTALLED): $(LOCK) setup.py pyproject.toml | python
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^uv==' $(LOCK))"
	$(BIN)/python -m uv pip install --quiet --python=$(BIN)/python --requirement=$(LOCK) \
	  || $(BIN)/python -m pip install --requirement=$(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --editable=.
	touch $@

# What the emoji data set is made of. Its tests skip where the packages cannot be had.
system:
	@dpkg --status $(SYSTEM_PACKAGES) >/dev/null 2>&1 && exit 0; \
	root=$$([ "$$(id -u)" = 0 ] || echo sudo --non-interactive); \
	apt="$$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=60"; \
	{ command -v apt-get && $$apt update && $$apt install --yes --no-install-recommends \
	  $(SYSTEM_PACKAGES); } >/dev/null </dev/null \
	|| echo "NOTICE: could not install $(SYSTEM_PACKAGES); tests that need them will skip" >&2
