# Each target is a line you can type yourself; make adds what has to be there first.
PYTHON ?= python3
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest
# Virtual machines the lab's suite is dealt out to: each boots once and keeps about one core busy.
MACHINES ?= $(shell test "$$(nproc)" -ge 2 && echo 2 || echo 1)

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit netns lab lab-shell bench clean

help: ## Say what the targets do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.venv/.ready: setup.cfg pyproject.toml packaging/constraints.txt packaging/prepare
	@packaging/prepare venv $(PYTHON)

demo: .venv/.ready ## The main job end to end in the lab, with figures (boots a virtual machine)
	@packaging/prepare system lab
	$(VENV)/python -m tests.lab run tests.lab.demo

test: unit netns lab ## The whole suite that needs no container images and no Go

lint: .venv/.ready ## ruff, mypy --strict, import-linter
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-cache

unit: .venv/.ready ## Decisions on values: no root, no sockets, < 30 s
	$(PYTEST) tests/unit

netns: .venv/.ready ## Real kernel, real OVS in private namespaces (root)
	@packaging/prepare system netns
	$(PYTEST) tests/netns tests/contract

lab: .venv/.ready ## SR-IOV VFs, eswitch and hardware offload: the lab's virtual machine, one boot per core (MACHINES)
	@packaging/prepare system lab
	$(VENV)/python -m tests.lab --machines $(MACHINES) test

lab-shell: .venv/.ready ## A prompt in the lab's topology
	@packaging/prepare system lab
	$(VENV)/python -m tests.lab shell

bench: .venv/.ready ## Side-by-side figures (each prints its ratio, spread and machine)
	@packaging/prepare system netns
	$(VENV)/python -m tests.bench

clean: ## Remove what was built here (the lab's cache in ~/.cache/dpukit stays)
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
