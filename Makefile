# Everything a contributor runs. Each target sets its environment up first, where that is not done.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt

.PHONY: demo test test-slow gpu check bench format clean

demo: $(VENV)/.model
	$(BIN)/adamergex demo

# A process a core, which take tests from each other as they run out; the ten slowest are named.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not gpu" -n logical --maxprocesses 8 --dist worksteal --durations 10 $(TESTS)

# One at a time: some hold gigabytes, some a cluster. TESTS="FILE ..." chooses among them.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m "slow and not gpu" --durations 10 $(TESTS)

# Where there is a CUDA device: what it gives beside the processor's, and a benchmark beside TRL and HFLM.
gpu: $(VENV)/.dev
	@if $(BIN)/python -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then \
		$(MAKE) $(VENV)/.quantization && $(BIN)/python -m pytest -m gpu --durations 10 tests/gpu && \
		$(BIN)/python -W ignore benchmarks/gpu.py; \
	else echo 'gpu: no CUDA device here: nothing was run'; fi

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	for part in merge start scoring training growth cluster; do $(BIN)/python -W ignore benchmarks/$$part.py || exit 1; done

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs

# The model comes as GGUF; its copy in safetensors is made once, in the user's cache.
$(VENV)/.model: $(VENV)/.demo
	$(BIN)/python -c 'from adamergex.models import prepared; print(prepared())'
	touch $@

# A stamp for each set of extras: pip runs again only when the project's requirements change.
$(VENV)/.%: pyproject.toml requirements/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[$*]'
	touch $@
