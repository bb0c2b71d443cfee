# `make demo` and `make test` do all the set-up on a fresh machine with Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
OUT ?= out/cat

# Threads that wait for work sleep instead of spinning: kinder on shared cores, no slower on free ones.
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-fast torture audit-dependencies check-page check-studio docs tables first-page tutorial-pictures format clean

demo: .venv/installed
	$(BIN)/excise erase cat --out $(OUT) --overwrite

test: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

# A part of every room in less than a minute on two cores: what to run after every change (tests/fast.py).
test-fast: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m fast -n 2

# Hostile files, kills and small machines against every verb: 10,000 inputs and 500 kills, about ten minutes on two cores (torture/).
# `test` has a short form of it.
torture: .venv/installed-dev
	$(BIN)/python -m torture --out out/torture.json

# Known vulnerabilities of the pinned versions. Needs the network, where the advisories are; fails if it cannot ask about one.
audit-dependencies: | .venv
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install pip-audit
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

# The report page in headless Chromium. Apart from `test`, which needs no system package.
check-page: .venv/installed-dev
	$(BIN)/pytest --noconftest tests/check_page.py

# The studio in headless Chromium, and its tests that need Gradio. In an environment of its own: Gradio needs an older Pillow than constraints.txt has.
check-studio: .venv/studio/installed
	OMP_NUM_THREADS=1 .venv/studio/bin/pytest tests/test_studio.py
	OMP_NUM_THREADS=1 .venv/studio/bin/pytest --noconftest tests/check_studio.py

# The site, in build/site. Offline; a broken link, or a docstring that cannot be read, is an error.
docs: .venv/installed-dev
	$(BIN)/sphinx-build -b html -q -E -W --keep-going docs build/site
	@echo "build/site/index.html"

# Every table of README and docs from the committed files, and what docs/benchmark holds. Measures nothing: a minute.
tables: .venv/installed-dev
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/index.py --write

# The picture in README: both canvases.
first-page: .venv/installed
	$(BIN)/excise erase cat --evaluate none --out out/first-page/cat --overwrite
	$(BIN)/excise erase cat --model canvas-flow --evaluate none --out out/first-page/flow-cat --overwrite
	$(BIN)/python benchmarks/first_page.py --edit out/first-page/cat --edit out/first-page/flow-cat --picture docs/first_page.png

# The pictures of the tutorial, made by its own commands: about ten minutes.
tutorial-pictures: .venv/installed
	$(BIN)/python benchmarks/tutorial_pictures.py --work out/tutorial

format: .venv/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache

# The stamps are older than pyproject.toml or constraints.txt only when something is to be installed anew.
.venv/installed: pyproject.toml constraints.txt | .venv
	$(BIN)/pip install -c constraints.txt -e .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	touch $@ .venv/installed

.venv/studio/installed: pyproject.toml constraints.txt constraints-studio.txt | .venv
	$(PYTHON) -m venv .venv/studio
	grep -v '^pillow==' constraints.txt > .venv/studio/constraints.txt
	.venv/studio/bin/pip install -c .venv/studio/constraints.txt -c constraints-studio.txt -e '.[dev,studio]'
	touch $@

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "excise needs Python 3.11 or newer; try: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
