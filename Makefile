# `make demo` and `make test` set up all they need in $(VENV). TORCH picks a torch build, e.g. TORCH=torch==2.13.0
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
BIN := $(VENV)/bin

.PHONY: demo test test-slow check lint bench wheel schema pictures clean

demo: $(VENV)/installed
	-$(BIN)/dpo-credit pairs --fetch smollm2 >/dev/null # without it the embedded pair scores, and says so
	$(BIN)/dpo-credit score examples/offer.json

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "slow and not gpu and not hub"

check: lint test

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed-dev
	$(BIN)/python tests/bench/bench_score.py $(BENCH)

wheel: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	tests/wheel.sh "$(PYTHON)" "$(TORCH)" dist/*.whl

schema: $(VENV)/installed-dev
	$(BIN)/python -m dpo_credit.rows.schema
	$(BIN)/python -m dpo_credit.report.schema
	$(BIN)/python -m dpo_credit.image.schema
	$(BIN)/python -m dpo_credit.export.schema
	$(BIN)/python -m dpo_credit.compare.schema
	$(BIN)/python -m dpo_credit.localise.schema
	$(BIN)/python -m dpo_credit.refine.schema
	$(BIN)/python -m dpo_credit.mdp.saved

pictures: $(VENV)/installed
	examples/pictures.sh "$(BIN)"

$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev,train]"
	touch $@

clean:
	rm -rf $(VENV) dist build
