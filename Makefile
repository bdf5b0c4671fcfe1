# The targets install their Python packages into VENV; the machine needs make and a Python with venv.
# For another interpreter: make test VENV=.venv-3.13 PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
# More arguments for pytest, as in: make test ARGS='-k sse', or ARGS='-n 0' for one process
ARGS ?=

# With this variable, each of some hundred processes would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# pip would tell of this only after a minute, or name the wrong package.
TOO_OLD := 'trio-logs needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another, as in:' \
	' make demo PYTHON=python3.13' % sys.version_info[:2]

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
NODE_MODULES := tests/clients/node_modules/.package-lock.json tests/web/node_modules/.package-lock.json

.PHONY: demo test check docs picture campaign chaos siege fuzz conformance bench clean

demo: $(VENV)/.installed
	@$(BIN)/trio-logs demo

# More processes than cores: tests also wait.
test: $(VENV)/.installed-dev $(NODE_MODULES)
	@$(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 3)) --dist worksteal $(ARGS)

# Ruff's ASYNC rules are those of flake8-async. TypeScript checks the modules of the page.
check: $(VENV)/.installed-dev $(NODE_MODULES)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@if command -v npm >/dev/null; then tests/web/node_modules/.bin/tsc -p tests/web; fi
	@$(BIN)/python -m pytest --quiet tests/test_imports.py

# Builds docs/_build. A warning, such as a broken link, is an error.
docs: $(VENV)/.installed-docs
	@$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --nitpicky docs docs/_build

# Draws docs/terminal.png from two real terminals, and docs/page/ from the page with the workloads of
# the demo; needs tmux and Chromium.
picture: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.picture
	@$(BIN)/python -m tests.page_pictures

# The size of a campaign. For a smaller one: make campaign SEEDS=50 EVERY=20
SEEDS ?= 1000
EVERY ?= 1

# Shuffled scheduling for each operation; each change of the disk failing, under a store alone and
# under a service; long outages; random changes of workloads; several logs over random cuts; random
# histories of several nodes; readers that attach and leave; random selections of random logs; random
# rows against xterm. Half an hour.
campaign: $(VENV)/.installed-dev $(NODE_MODULES)
	@$(BIN)/python -m tests.campaign --seeds $(SEEDS)
	@$(BIN)/python -m tests.disk_campaign --every $(EVERY)
	@$(BIN)/python -m tests.outage_campaign --every $(EVERY) $(if $(filter-out 1,$(EVERY)),--short)
	@$(BIN)/python -m tests.changes_campaign --runs $(SEEDS)
	@$(BIN)/python -m tests.several_campaign --cuts $(SEEDS)
	@$(BIN)/python -m tests.nodes_campaign --seeds $(SEEDS)
	@ATTACHMENT_SEEDS=$$(($(SEEDS) / 20)) $(BIN)/python -m pytest -q tests/test_delivery.py -k attachments
	@EXAMPLES=$$((4 * $(SEEDS))) $(BIN)/python -m pytest -q -n 2 tests/test_reading_agrees.py
	@ROUNDS=$$((100 * $(SEEDS))) SEED=$$(date +%s) node --test tests/web/row.test.mjs

# Three nodes and a database under faults that a seed decides; about 20 s a seed. A seed that fails
# keeps its histories in KEEP. For fewer: make chaos CHAOS=1..20
CHAOS ?= 1..200
KEEP ?= .chaos
chaos: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.chaos --seeds $(CHAOS) --keep $(KEEP)

# Bad days and attacks: disks that are full, slow, hung or broken, a standard error that is lost, each
# with planted faults that show that the check can fail. ARGS=--list prints the cases.
siege: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.siege $(ARGS)

# Hostile input for each parser, 10 minutes each. For fewer: make fuzz SECONDS=60
SECONDS ?= 600

fuzz: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Some thousand requests that schemathesis derives from /openapi.json, new ones each time; 3 minutes.
conformance: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.conformance

# Takes minutes; ARGS=--quick takes under one.
bench: $(VENV)/.installed-dev
	@$(BIN)/python -m bench $(ARGS)

# Removes files in this folder only, whatever VENV is.
clean:
	rm -rf .venv .venv-* .chaos .hypothesis .mypy_cache .pytest_cache .ruff_cache dist docs/_build tests/*/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and $(TOO_OLD))" \
		&& echo "Setting up $(VENV) ..." && $(PYTHON) -m venv --clear $(VENV); }
	@# The pip of an older Python has no dependency groups (25.1).
	@$(PIP) install -c constraints.txt --upgrade pip hatchling editables
	@$(PIP) install -c constraints.txt --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install -c constraints.txt --group test --group check --group bench
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(PIP) install -c constraints.txt --group docs
	@touch $@

# Without npm, the tests that need these modules skip, except in CI.
%/node_modules/.package-lock.json: %/package-lock.json
	@if command -v npm >/dev/null; then \
		npm --prefix $* ci --silent --ignore-scripts --no-audit --no-fund; fi
