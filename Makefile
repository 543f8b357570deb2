# make bench SUITE=nlp     run a suite: makes .venv, installs, runs, renders, prints the board
# make test                makes .venv, installs, tests
# make lint                ruff and mypy
#
# EXTRA=gpu installs the CUDA build of ONNX Runtime; never mix it with cpu in one .venv.

SUITE   ?= smoke
RESULTS ?= results
EXTRA   ?= cpu
ARGS    ?=
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help bench bench-full bench-speed test test-slow lint clean

help:
	@sed -n '1,5s/^# //p' Makefile

# One stamp per set of dependencies: `make bench` does not need the test tools.
$(VENV)/.run-$(EXTRA): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
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
	$(BIN)/python -m pytest -m 'not slow and not benchmark_speed' $(ARGS)

# Minutes each: three seeds against the promised scores, whole data sets.
test-slow: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m pytest -m slow $(ARGS)

# Training speed against Hugging Face's Trainer, interleaved (about 15 minutes on 2 cores).
bench-speed: $(VENV)/.dev-$(EXTRA)
	$(BIN)/python -m pytest -m benchmark_speed -s tests/benchmarks $(ARGS)

lint: $(VENV)/.dev-$(EXTRA)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
