# make train   sets everything up and trains (ARGS="--preset gpu ..." goes to experiments/control.py)
# make reason  the same for experiments/rlvr.py
# make compare the same for experiments/compare.py
# make notebooks opens notebooks/ in JupyterLab
# make test    sets everything up and runs the tests (ARGS="-k noise" goes to pytest)
# make docs    builds the documentation into site/, offline
# Installs the pinned versions of requirements.txt into .venv; EXTRAS=cuda13 adds GPU support, EXTRAS=playground more tasks.

EXTRAS ?=
ARGS ?=
PYTHON ?= $(shell for name in python3.12 python3.13 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin

.PHONY: train reason compare notebooks test test-slow test-slurm test-compile lint docs benchmark pins clean

train: .venv/ready
	$(BIN)/python experiments/control.py $(ARGS)

reason: .venv/ready
	$(BIN)/python experiments/rlvr.py $(ARGS)

compare: .venv/ready
	$(BIN)/python experiments/compare.py $(ARGS)

notebooks: .venv/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c requirements.txt -e ".[notebooks]"
	$(BIN)/jupyter lab notebooks $(ARGS)

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not slurm and not compile" $(ARGS)

test-slow: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow $(ARGS)

test-slurm: .venv/ready
	$(BIN)/python -m pytest -m slurm $(ARGS)

# Installs the compilers of GPUs and TPUs into the user's cache folder on first use: 6 GB.
test-compile: .venv/ready
	$(BIN)/python -m pytest -m compile $(ARGS)

benchmark: .venv/ready
	$(BIN)/python experiments/benchmark.py $(or $(ARGS),all)

lint: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Whatever the site fetches or lacks is an error; NO_MKDOCS_2_WARNING silences an advertisement.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict $(ARGS)
	@echo "jaxpsn: the documentation is in site/index.html"

.venv/ready: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "jaxpsn needs Python 3.11, 3.12 or 3.13" >&2; exit 2; }
	@echo "jaxpsn: installing the pinned packages into .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt -e ".$(if $(EXTRAS),[$(EXTRAS)],)"
	@touch $@

# One universal pin file for every Python and platform; it must not name a package index.
pins:
	uv pip compile --quiet --universal --no-emit-index-url --no-header --python-version 3.11 --group test --group docs pyproject.toml -o requirements.txt

clean:
	rm -rf .venv site
