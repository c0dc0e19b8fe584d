# Two commands for a newcomer: `make serve` and `make test`. Both set everything up by themselves.

PYTHON ?= python3
PORT ?= 8000
# More options of the evaluation, such as EVAL="--extractor image=my.networks:inception" (docs/evaluation.md).
EVAL ?=
VENV := .venv
BIN := $(VENV)/bin
# The name changes with what is to be installed, so that an old environment is never taken for a new one.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

DEEPSPEED := $(STAMP)-deepspeed

export RAY_AUTH_MODE ?= disabled
export HF_HUB_OFFLINE ?= 1
export PYTHONUNBUFFERED := 1

.PHONY: serve test check eval clean install

serve: $(STAMP)  ## Serve the tiny preset on http://127.0.0.1:$(PORT)
	@exec $(BIN)/python -m deployments serve --port $(PORT)

test: $(STAMP) check $(DEEPSPEED)  ## Lint, type-check and run every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n 2 --dist loadfile
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/train tests/serve

check: $(STAMP)  ## Lint and type-check only
	$(BIN)/ruff check .
	$(BIN)/mypy

eval: $(STAMP)  ## Score the tiny weights on held-out Shapes: docs/results/tiny.json and tiny.md
	OMP_NUM_THREADS=1 $(BIN)/python -m train.evaluate --message hybrid,text,signal --resume $(EVAL)
	OMP_NUM_THREADS=1 $(BIN)/python -m train.report

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python {v[0]}.{v[1]} found; 3.11 or 3.12 is needed (PYTHON=python3.11 make ...)")'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Python lacks venv: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve,train,dev]'
	@touch $@

# A source package that asks for torch while it is built. It is optional, and so are its tests.
$(DEEPSPEED): $(STAMP)
	@DS_BUILD_OPS=0 $(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt deepspeed \
		&& touch $@ || echo "DeepSpeed is not installed: its tests are left out"

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
