# Each command sets up what it needs: a virtual environment from pyproject.toml, then the work.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint bench formal clean

demo: .venv/ready
	$(BIN)/aerloom demo

test: .venv/ready-test          # about 25 minutes on two cores the first time, as simulators are built
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not full"

test-all: .venv/ready-test .venv/ready-boards   # and what takes minutes by itself, bitstreams and netlists too
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/ready-test
	$(BIN)/ruff check .
	$(BIN)/mypy -p aerloom

bench: .venv/ready-bench        # the figures of bench/results
	$(BIN)/python -m bench

formal: .venv/ready-formal      # proofs about the hardware, each beside a mistake that it finds: about three minutes
	$(BIN)/python -m tests.formal

clean:
	rm -rf .venv build *.egg-info src/*.egg-info

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aerloom needs Python 3.11 or newer: make PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[compiler]'
	touch $@

.venv/ready-test: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	touch $@

.venv/ready-boards: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[boards]'
	touch $@

.venv/ready-bench: .venv/ready-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

.venv/ready-formal: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[formal]'
	touch $@
