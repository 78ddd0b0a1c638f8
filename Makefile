# `make demo` and `make test` work on a fresh machine: they make .venv and install what they need.

PYTHON ?= python3
OUT := runs/demo
RESULTS := runs/benchmarks
SEED := 0
WORKERS := 2

VENV := .venv
OLDEST := .venv-oldest
VERL := .venv-verl
INSTALLED := $(VENV)/.installed-cpu
INSTALLED_TEST := $(VENV)/.installed-test
INSTALLED_OLDEST := $(OLDEST)/.installed
INSTALLED_VERL := $(VERL)/.installed
PEERS := $(VENV)/peers
INSTALLED_PEERS := $(PEERS)/.installed
DEEPSPEED := $(VENV)/deepspeed
INSTALLED_DEEPSPEED := $(DEEPSPEED)/.installed

# At least this share of the lines of each of these must be covered. tests/conftest.py says which
# tests count towards it.
COVERAGE := 95
COVERED := stages/* rewards/* training/credit.py models/packing.py training/objective.py
PYTEST := -m pytest -n $(WORKERS)

# Test processes run side by side: one thread each, and waiting threads sleep. Nothing is fetched
# from the hub.
export OMP_WAIT_POLICY := PASSIVE
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, every process that a test starts would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-zero3 test-verl bench-grammar bench-media bench-data-check bench-rewards \
	bench-necessity bench-evaluation bench-score bench-towers bench-update bench-update-peer \
	bench-log-probs bench-rollout bench-plan bench-slopes bench-step bench-table \
	families-table gpu-check lint format clean
.DELETE_ON_ERROR:

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make demo OUT=DIR SEED=N   chooses the run folder ($(OUT)) and the seed ($(SEED))"
	@echo "  make PYTHON=python3.12 ... chooses the Python that .venv is made from ($(PYTHON))"

demo: $(INSTALLED)  ## Cold-start, reinforce, evaluate and report on the synthetic clips
	$(VENV)/bin/triptych demo --out "$(OUT)" --seed "$(SEED)"

test: lint  ## Lint, check types, run the tests, check coverage
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(VENV)/bin/python $(PYTEST) --cov --cov-report=
	@set -f; for room in $(COVERED); do \
		printf 'lines covered in %s (%%): ' "$$room"; \
		$(VENV)/bin/coverage report --include="src/triptych/$$room" --format=total --fail-under=$(COVERAGE) || exit 1; \
	done

test-slow: $(INSTALLED_TEST) $(INSTALLED_PEERS) $(INSTALLED_OLDEST)  ## All tests, then the fast ones on the oldest supported versions, then test-zero3 and test-verl
	OMP_NUM_THREADS=1 PYTHONPATH="$(PEERS)" $(VENV)/bin/python $(PYTEST) -m "slow or not slow"
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python $(PYTEST)
	$(MAKE) test-zero3
	$(MAKE) test-verl

# Apart: where DeepSpeed can be imported, every run of a Trainer imports it.
test-zero3: $(INSTALLED_TEST) $(INSTALLED_DEEPSPEED)  ## The tests of ZeRO-3, with DeepSpeed, in two processes (6 to 10 minutes)
	OMP_NUM_THREADS=1 PYTHONPATH="$(DEEPSPEED)" $(VENV)/bin/python -m pytest -m slow tests/integration/test_zero3.py

# Without tests/fixtures.py, which loads models: they need a newer transformers than verl has.
test-verl: $(INSTALLED_VERL)  ## The tests of the integration with verl, in an environment with verl (3 minutes)
	OMP_NUM_THREADS=1 $(VERL)/bin/python -m pytest --confcutdir=tests/verl tests/verl

# The figures in benchmarks/results are those of: chrt -r 1 make bench-grammar RESULTS=benchmarks/results
bench-grammar: $(INSTALLED_PEERS)  ## Time enforcing the format, beside xgrammar, llguidance and outlines (8 minutes)
	OMP_NUM_THREADS=1 PYTHONPATH="$(PEERS)" $(VENV)/bin/python -m benchmarks.grammar --out "$(RESULTS)/grammar.json"

# torchcodec takes part where it finds the libraries of FFmpeg.
bench-media: $(INSTALLED_PEERS)  ## Time sampling frames of a long film, beside torchcodec, and decode workers (5 minutes)
	OMP_NUM_THREADS=1 PYTHONPATH="$(PEERS)" $(VENV)/bin/python -m benchmarks.media --out "$(RESULTS)/media.json"

bench-data-check: $(INSTALLED)  ## Time checking 100,000 records (1 minute)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.data_check --out "$(RESULTS)/data_check.json"

bench-rewards: $(INSTALLED_PEERS)  ## Time a trained text scorer, beside the pipeline of transformers (6 minutes)
	OMP_NUM_THREADS=2 PYTHONPATH="$(PEERS)" $(VENV)/bin/python -m benchmarks.rewards --out "$(RESULTS)/rewards.json"

bench-necessity: $(INSTALLED)  ## Time the necessity reward, beside rollout and update (4 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.necessity --out "$(RESULTS)/necessity.json"

bench-evaluation: $(INSTALLED)  ## Time a batched evaluation, beside one question after the other (4 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.evaluation --out "$(RESULTS)/evaluation.json"

bench-score: $(INSTALLED)  ## Time scoring 100,000 predictions (4 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.score --out "$(RESULTS)/score.json"

bench-update: $(INSTALLED)  ## Time an update, beside the prompt before every completion (40 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.update --out "$(RESULTS)/update.json"

bench-update-peer: $(INSTALLED_PEERS)  ## Time an update, beside prefix-grouper (2 minutes)
	OMP_NUM_THREADS=1 PYTHONPATH="$(PEERS)" $(VENV)/bin/python -m benchmarks.update_peer --out "$(RESULTS)/update_peer.json"

bench-towers: $(INSTALLED)  ## Time frozen towers: once per prompt, or in each forward (5 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.towers --out "$(RESULTS)/towers.json"

bench-log-probs: $(INSTALLED)  ## Time log-probs in chunks, beside all logits at once (15 to 50 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.log_probs --out "$(RESULTS)/log_probs.json"

bench-rollout: $(INSTALLED)  ## Time a group of completions, beside its prompt run for each (8 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.rollout --out "$(RESULTS)/rollout.json"

bench-slopes: $(INSTALLED)  ## Time an update as prompts, groups and completions grow (5 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.slopes --out "$(RESULTS)/slopes.json"

# Beside TRL, which is installed for the tests.
bench-step: $(INSTALLED_TEST)  ## Time a whole step of GRPO, beside TRL's and beside no sharing (10 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.step --out "$(RESULTS)/step.json"

bench-plan: $(INSTALLED)  ## Compare planned memory and time with runs (8 minutes)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.plan --out "$(RESULTS)/plan.json"

bench-table: $(INSTALLED)  ## Write benchmarks/README.md from the figures in benchmarks/results
	$(VENV)/bin/python -m benchmarks.table

families-table: $(INSTALLED)  ## Write the table of model families into the documents
	$(VENV)/bin/python -m triptych.models.families.table README.md docs/families.md

# By a Python of yours, whose torch sees the device; nothing is installed.
gpu-check:  ## Check and time the 7B and 3B sizes on one CUDA device (10 minutes)
	PYTHONPATH="src:$$PYTHONPATH" $(PYTHON) -m benchmarks.gpu_check --out "$(RESULTS)/gpu.json"

lint: $(INSTALLED_TEST)  ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(INSTALLED_TEST)  ## Put the style right where that is mechanical
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:  ## Remove the environments and caches, but no run
	rm -rf $(VENV) $(OLDEST) $(VERL) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments --------------------------------------------------------------------------------

$(INSTALLED): requirements/cpu.txt pyproject.toml
	$(call install,$(VENV),requirements/cpu.txt)

$(INSTALLED_TEST): requirements/test.txt $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet -r requirements/test.txt
	touch $@

$(INSTALLED_OLDEST): requirements/oldest.txt pyproject.toml
	$(call install,$(OLDEST),requirements/oldest.txt)

# The tokenizer is one that Triptych's own environment saves, as a cold-started model's would be.
$(INSTALLED_VERL): requirements/verl.txt pyproject.toml $(INSTALLED)
	@echo "Installing into $(VERL); this takes a few minutes the first time"
	test -x $(VERL)/bin/python || $(PYTHON) -m venv $(VERL)
	$(VERL)/bin/python -m pip install --quiet --no-deps -r requirements/verl.txt
	$(VERL)/bin/python -m pip install --quiet --no-deps --editable .
	$(VENV)/bin/python -c "from triptych.models.tiny import build_tokenizer; build_tokenizer().save_pretrained('$(VERL)/tiny-tokenizer')"
	touch $@

# Not among the packages of .venv: `make test` runs without them.
$(INSTALLED_PEERS): requirements/benchmarks.txt $(INSTALLED)
	rm -rf $(PEERS)
	$(VENV)/bin/python -m pip install --quiet --no-deps --target $(PEERS) -r requirements/benchmarks.txt
	touch $@

$(INSTALLED_DEEPSPEED): requirements/deepspeed.txt $(INSTALLED)
	rm -rf $(DEEPSPEED)
	$(VENV)/bin/python -m pip install --quiet --no-deps --target $(DEEPSPEED) -r requirements/deepspeed.txt
	touch $@

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; choose one by: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing into $(1); this takes a few minutes the first time"
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet -r $(2)
	$(1)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@
endef
