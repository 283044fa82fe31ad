PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RESULTS ?= results
SHAPES := $(shell printf "pagbench.%s," data densities geometry measures models reports.gallery running.targets studies.theory training)beartype.beartype

.PHONY: run test test-all bench bench-growth bench-gpu docs docs-site site clean

run: $(VENV)/.installed
	$(BIN)/pagbench run --results $(RESULTS)
	$(BIN)/pagbench leaderboard --results $(RESULTS)
	$(BIN)/pagbench gradients --output $(RESULTS)/gradients.png
	@echo "Parquet files: $(RESULTS)/digits@2   gradients: $(RESULTS)/gradients.png"

# bytecode is kept even where the environment says not to: many tests start a process, and each would compile all again
test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

# heavy repetitions too, which take many minutes, and the shapes in signatures, which slow all tests down
test-all: $(VENV)/.installed-test
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "" --jaxtyping-packages=$(SHAPES)

bench: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest benchmarks --table --benchmark-only --benchmark-columns=median,iqr,rounds

bench-growth: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/growth.py

# needs a CUDA device; says so where there is none
bench-gpu: $(VENV)/.installed-test
	$(BIN)/python benchmarks/gpu.py

docs: $(VENV)/.installed
	$(BIN)/pagbench figures --benchmark fashion-mnist@2 --results leaderboard/results --output docs/figures
	$(BIN)/pagbench theory --output docs/figures
	$(BIN)/python docs/generate.py

# the documentation's site; Material's advertisement of its successor is left out
docs-site: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

site: $(VENV)/.installed
	$(BIN)/pagbench site --results leaderboard/results --output leaderboard/site

clean:
	rm -rf $(VENV) $(RESULTS) site-docs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) found, Python 3.11 or newer needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,docs,test]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-docs

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@
