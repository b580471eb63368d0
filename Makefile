# Two commands: `make demo` opens the tour in JupyterLab, `make test` runs every check.
# Both set up what they need: Python packages in .venv, the front end's in js/node_modules.

PYTHON ?= python3
ARGS ?=

bin := .venv/bin
pytest := $(bin)/pytest
sources := $(shell find js/src -type f 2>/dev/null) js/build.mjs

.PHONY: demo test setup lint js unit browser notebooks bench refresh chromium clean
.DELETE_ON_ERROR:

demo: .venv/lab.stamp  ## open JupyterLab on the tour (on a server: make demo ARGS=--no-browser)
	$(bin)/vitwidgets demo --folder notebooks $(ARGS)

test: lint js setup chromium  ## every check; the environment's set-up included
	$(pytest) --ignore=tests/browser --ignore=tests/notebooks -n 2 $(ARGS)
	$(pytest) tests/browser tests/notebooks $(ARGS)

setup: .venv/dev.stamp

lint: .venv/dev.stamp js/node_modules/install.stamp
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	cd js && npm run --silent lint
	cd js && npm run --silent types

js: js/node_modules/install.stamp  ## the front end: tests, build, sizes
	cd js && npm run --silent test
	cd js && npm run --silent build

unit: setup vitwidgets/static/vitwidgets.css
	$(pytest) --ignore=tests/browser --ignore=tests/notebooks -n 2 $(ARGS)

browser: setup vitwidgets/static/vitwidgets.css chromium
	$(pytest) tests/browser $(ARGS)

notebooks: setup vitwidgets/static/vitwidgets.css
	$(pytest) tests/notebooks $(ARGS)

bench: setup vitwidgets/static/vitwidgets.css chromium
	@for file in tests/benchmarks/bench_*.py; do echo "$$file"; $(bin)/python "$$file" $(ARGS) || exit 1; done

refresh: setup vitwidgets/static/vitwidgets.css  ## run the notebooks and keep their outputs
	$(bin)/python tests/notebooks/refresh.py

clean:
	rm -rf .venv js/node_modules vitwidgets/static build dist .mypy_cache .ruff_cache .pytest_cache

# ------------------------------------------------------------------ set-up

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; name it with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# The front end is built first: pip's own build then finds it up to date.
.venv/lab.stamp: pyproject.toml vitwidgets/static/vitwidgets.css | .venv/bin/python
	test -e .venv/dev.stamp -a .venv/dev.stamp -nt pyproject.toml || $(bin)/pip install --editable '.[lab]'
	touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python vitwidgets/static/vitwidgets.css
	$(bin)/pip install --editable '.[dev]'
	touch $@

js/node_modules/install.stamp: js/package.json js/package-lock.json
	@command -v npm >/dev/null || \
	  { echo "Node.js 20 or newer, with npm, is needed to build the front end: https://nodejs.org"; exit 1; }
	cd js && npm ci
	touch $@

vitwidgets/static/vitwidgets.css: $(sources) js/node_modules/install.stamp
	cd js && npm run --silent build

# Chromium for the browser tests, from the distribution where that can be had without asking.
chromium:
	@for name in $$CHROMIUM chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root=sudo; else as_root=no; fi; \
	if command -v apt-get >/dev/null && [ "$$as_root" != no ]; then \
	  $$as_root apt-get update -qq && \
	  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-dejavu-core; \
	else \
	  echo "No Chromium, and no way to install it from here: the browser tests will be skipped."; \
	  echo "Install chromium from your distribution, or set CHROMIUM to the path of a Chrome or Chromium."; \
	fi
