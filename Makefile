# make bench SUITE=nlp     run a suite: makes .venv, installs, runs, renders, prints the board
# make test                makes .venv, installs, tests
# make regress             did the harness itself get slower?
# make lint                ruff, mypy, and the schemas of the workflow and the action
#
# EXTRA=gpu installs the CUDA build of ONNX Runtime, into .venv-gpu: both builds own one folder.

SUITE   ?= smoke
RESULTS ?= results
EXTRA   ?= cpu
ARGS    ?=
PYTHON  ?= python3
VENV    ?= $(if $(filter gpu,$(EXTRA)),.venv-gpu,.venv)
BIN     := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help bench bench-full bench-speed chaos choose-study regress test test-slow lint clean

help:
	@sed -n '1,6s/^# //p' Makefile

# One stamp per set of dependencies: `make bench` does not need the test tools.
$(VENV)/.run-$(EXTRA): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
	@for other in $(filter-out $@,$(wildcard $(VENV)/.run-*)); do \
	  echo "$(VENV) holds another build of ONNX Runtime ($$other), and both own one folder;" \
	    "name a new one with VENV=..." >&2; exit 2; done
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$(EXTRA),tensorflow,pages]'
	@touch $@

$(VENV)/.dev-$(EXTRA): $(VENV)/.run-$(EXTRA)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$(EXTRA),tensorflow,pages,dev]'
	@touch $@

bench: $(VENV)/.run-$(EXTRA)
	@$(BIN)/harness run $(SUITE) --results $(RESULTS) $(ARGS)

bench-full: $(VENV)/.run-$(EXTRA)
	@$(BIN)/harness run $(SUITE) --full --seeds 1,2,3 --results $(RESULTS)-full $(ARGS)

test: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder \
	  -m 'not slow and not benchmark_speed and not chaos' $(ARGS)

# Minutes in all: simulated coverage of intervals, a million rows, clusters, a compiled model.
test-slow: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m pytest -m slow $(ARGS)

# 200 kills at random instants of a small suite (about 15 minutes on 2 cores), 12,000 generated
# suites and data files (about 10), the same model timed twice, 50 times over (about 25), and 30
# comparisons of a row with itself (about an hour).
chaos: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m pytest -m chaos -s $(ARGS)

# Training speed against Hugging Face's Trainer, interleaved (about 15 minutes on 2 cores).
bench-speed: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m pytest -m benchmark_speed -s tests/benchmarks $(ARGS)

# Did the harness itself get slower? Eight launches of its own benchmarks (3 minutes) against the
# stored ones of this machine; the first time, they are stored.
OWN := results/baselines/own-speed
regress: $(VENV)/.dev-$(EXTRA)
	@rm -rf build/own-speed && mkdir -p build/own-speed
	@for i in 1 2 3 4 5 6 7 8; do $(BIN)/python -m pytest -q -m benchmark_speed \
	  tests/benchmarks/test_own_speed.py --benchmark-json=build/own-speed/$$i.json || exit 1; done
	@test -d $(OWN) || { mkdir -p $(OWN) && cp build/own-speed/*.json $(OWN); }
	$(BIN)/harness compare $(OWN) build/own-speed $(ARGS)

# Regret of `harness choose --data` on cuts of Banking77 (BANKING=path of its train.csv) and of
# Reuters R8; half an hour on 2 quiet cores.
choose-study: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m tests.benchmarks.choose_study --banking $(BANKING) $(ARGS)

lint: $(VENV)/.dev-$(EXTRA)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml

clean:
	rm -rf .venv .venv-gpu $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
