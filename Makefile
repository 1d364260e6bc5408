# Each target is a line you can type yourself; make adds what has to be there first.
PYTHON ?= python3
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest
CORES := $(shell test "$$(nproc)" -ge 2 && echo 2 || echo 1)
# Virtual machines the lab's suite is dealt out to: each boots once and keeps about one core busy.
MACHINES ?= $(CORES)
# Processes the tests in namespaces are dealt out to: each waits for the kernel half of its time.
WORKERS ?= $(CORES)

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit netns lab e2e lab-shell fuzz bench bench-cni install-cni bundle-cni uninstall-cni clean

help: ## Say what the targets do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

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
	$(PYTEST) -m forks tests/netns
	$(PYTEST) -m "not forks" --numprocesses $(WORKERS) tests/netns tests/contract

lab: .venv/.ready ## SR-IOV VFs, eswitch and hardware offload: the lab's virtual machine, one boot per core (MACHINES)
	@packaging/prepare system lab
	$(VENV)/python -m tests.lab --machines $(MACHINES) test

e2e: .venv/.ready ## containerd makes and removes pods with the plugin, in namespaces of its own (root); logs in build/e2e
	@packaging/prepare system e2e
	$(PYTEST) tests/e2e/libcni tests/e2e/packaging
	$(VENV)/python -m tests.e2e

lab-shell: .venv/.ready ## A prompt in the lab's topology
	@packaging/prepare system lab
	$(VENV)/python -m tests.lab shell

# How long, in seconds. Inputs that broke something are kept in build/fuzz.
FUZZ_SECONDS ?= 60

fuzz: .venv/.ready ## One CNI call, fuzzed by coverage for FUZZ_SECONDS (60): executions, coverage, crashes
	$(VENV)/pip install --quiet --disable-pip-version-check -c packaging/constraints.txt -e ".[fuzz]"
	$(VENV)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: bench-cni ## Side-by-side figures (each prints its ratio, spread and machine)

bench-cni: .venv/.ready ## The CNI calls beside other plugins: on veth ends here, then on real VFs in the lab
	@packaging/prepare system netns
	@packaging/prepare system lab
	$(VENV)/python -m tests.bench
	$(VENV)/python -m tests.bench --place lab --turns 15 --rounds 3

# DESTDIR is where the node's / is now, or a folder to be packed; CNI_PYTHON is the interpreter on the node.
CNI_PYTHON ?= /usr/bin/python3
CNI_DOC := $(DESTDIR)/usr/share/doc/dpukit

install-cni: .venv/.ready ## Put the CNI executable, which needs nothing else, into DESTDIR/opt/cni/bin, an example into share/doc
	$(VENV)/python -m cni.install --root "$(DESTDIR)/" --python "$(CNI_PYTHON)"
	install -D -m 644 -t "$(CNI_DOC)" packaging/examples/*.example

bundle-cni: .venv/.ready ## The same with an interpreter of its own, for a node without Python: DESTDIR/opt/dpukit/python (needs patchelf)
	$(VENV)/python packaging/bundle "$(DESTDIR)/"
	install -D -m 644 -t "$(CNI_DOC)" packaging/examples/*.example

uninstall-cni: ## Take away what install-cni put there (attachments keep their records: DEL them first)
	rm -f "$(DESTDIR)/opt/cni/bin/dpukit" "$(CNI_DOC)"/*.example
	[ ! -e "$(DESTDIR)/opt/dpukit/python/made-by-packaging-bundle" ] || rm -rf "$(DESTDIR)/opt/dpukit/python"
	[ ! -d "$(CNI_DOC)" ] || rmdir --ignore-fail-on-non-empty "$(CNI_DOC)"

clean: ## Remove what was built here (the lab's cache in ~/.cache/dpukit stays)
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
