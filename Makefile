# Two commands do everything: `make repro` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

# What the tools would write into the home directory goes into the clone, and none of them phones home.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export XDG_CACHE_HOME := $(CURDIR)/.cache
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export WANDB_CACHE_DIR := $(CURDIR)/.cache/wandb
export WANDB_DATA_DIR := $(CURDIR)/.cache/wandb
export DVC_SITE_CACHE_DIR := $(CURDIR)/.cache/dvc
export DVC_NO_ANALYTICS := 1

# Compiled now: where Python may not write bytecode itself, each stage would spend half a minute on importing.
INSTALL = UV_CACHE_DIR=.venv/cache $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -c constraints.txt -r pyproject.toml

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/uv.txt: constraints.txt
	@echo "Setting up .venv: about 6.5 GB on disk, a few minutes, once."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, got " + sys.version.split()[0] + "; give one with make PYTHON=…")'
	@$(PYTHON) -m venv .venv
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' constraints.txt > $@.new
	@$(BIN)/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r $@.new
	@mv $@.new $@

.venv/ready: .venv/uv.txt pyproject.toml
	@$(INSTALL) && rm -rf .venv/cache && touch $@

.venv/ready-test: .venv/ready
	@$(INSTALL) --extra test && rm -rf .venv/cache && touch $@

.PHONY: setup
setup: .venv/ready ## make the environment, nothing else

.PHONY: encoder
encoder: .venv/ready ## install a pretrained encoder of configs/encoders: make encoder NAME=dinov2_vits14
	@$(INSTALL) --extra encoders && rm -rf .venv/cache
	@python -m pipeline.encoder $(NAME)

.PHONY: repro
repro: .venv/ready ## run the whole pipeline on the cohort of params.yaml
	@dvc repro
	@python -m pipeline.results

.PHONY: test
test: .venv/ready-test ## run the tests, on two processes of one thread each
	@OMP_NUM_THREADS=1 python -m pytest

.PHONY: lint
lint: .venv/ready-test ## check the style
	@ruff check pipeline tests benchmarks

.PHONY: bench
bench: .venv/ready-test ## run all benchmarks, over two hours; each prints a table and a line of JSON
	@set -e; for name in models determinism preprocess loading splits near_duplicates evaluation tracking startup; do echo "== $$name"; python -m benchmarks.$$name; done
ifdef HIPPOCAMPUS
	@set -e; for name in training planning; do echo "== $$name"; python -m benchmarks.$$name; done
else
	@echo "Left out: training and planning. Set HIPPOCAMPUS to the folder that configs/cohorts/hippocampus.yaml names."
endif
	@echo "For hours, and resumed by the same command: python -m benchmarks.coverage, audits and accuracy."

.PHONY: sync
sync: .venv/ready ## upload offline W&B runs, once a key is configured
	@python -m pipeline.track upload

.PHONY: lock
lock: .venv/ready ## renew constraints.txt from pyproject.toml
	@UV_CACHE_DIR=.venv/cache uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --all-extras pyproject.toml -o constraints.txt
	@rm -rf .venv/cache
