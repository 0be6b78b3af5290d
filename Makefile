# Needs Python 3.11 or newer and nothing else; `make` alone tells what there is.
# ARGS goes to the program that a target runs: make test ARGS="-n 0 -k users"; PYTHON chooses the interpreter.
.DEFAULT_GOAL := help
ARGS :=
PYTHON :=
BIN := .venv/bin

# A name that is found may still not run (a version manager's shim), or lack a module, so each candidate is asked. One
# that takes less than four fifths of the time is preferred to those before it: a Python that was built without
# profile-guided optimisation, as pyenv does unless told otherwise, sends and accepts a fifth less mail.
NAMES := python3.13 python3.12 python3.11 python3.14 python3 python
CANDIDATES := $(or $(PYTHON),$(NAMES) $(foreach name,$(NAMES),$(wildcard $(addsuffix /$(name),$(subst :, ,$(PATH))))))
PACE := from timeit import repeat; \
    print(int(1e6 * min(repeat("[{n: str(n)} for n in range(999)]", number=9, repeat=9))))
IS_FIT := import sys, venv; from importlib.util import find_spec as has; \
    sys.exit(sys.version_info < (3, 11) or not (has("ensurepip") or has("pip")))
PIP := --disable-pip-version-check --no-input
COMPILE := $(BIN)/uv pip compile pyproject.toml --no-config --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --annotation-style line --custom-compile-command "make lock" --quiet $(ARGS)

# What drives a program that is not here is left out; pytest's last line then counts it as deselected.
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
CURL := $(shell command -v curl)
LACKING := $(if $(BROWSER),,and not browser) $(if $(CURL),,and not curl)
SELECTION := $(if $(strip $(LACKING)),-m "$(wordlist 2,99,$(LACKING))")

.PHONY: help
help: ## Show these lines
	@sed -n 's/^\([a-z.][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r target text; do \
	    printf '%-16s %s\n' "$$target" "$$text"; done

.PHONY: run
run: .venv ## Serve on loopback with an inbox of its own and a development key
	$(BIN)/postroom dev $(ARGS)

# One more than there are processors: many tests wait for processes, servers and timeouts.
WORKERS := $(shell expr $$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) + 1)

# worksteal, for loadgroup never ends once a worker has died, as a test that hangs makes its worker do.
.PHONY: test
test: .venv ## Run the whole suite
	$(BIN)/python -m pytest -n $(or $(WORKERS),auto) --dist worksteal $(SELECTION) $(ARGS)

.PHONY: check
check: format-check lint floors types openapi-check test ## Run everything that CI runs

.PHONY: format
format: .venv ## Rewrite the code in the house format, with the safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: format-check
format-check: .venv
	$(BIN)/ruff format --check .

.PHONY: lint
lint: .venv ## Look for mistakes
	$(BIN)/ruff check .

.PHONY: floors
floors: .venv ## Check that no room imports what it may not
	$(BIN)/lint-imports

.PHONY: types
types: .venv ## Check the types
	$(BIN)/mypy

.PHONY: openapi
openapi: .venv ## Write openapi.yaml anew from the code
	$(BIN)/postroom openapi > .venv/openapi.yaml
	cp .venv/openapi.yaml openapi.yaml

.PHONY: openapi-check
openapi-check: .venv
	$(BIN)/postroom openapi > .venv/openapi.yaml
	@diff -u openapi.yaml .venv/openapi.yaml || { echo 'openapi.yaml is not what the code says: make openapi' >&2; exit 1; }

.PHONY: lock
lock: .venv/.locked ## Write the two lock files anew; ARGS=--upgrade for newer versions
	$(COMPILE) --all-extras -o requirements.txt
	$(COMPILE) --all-extras --group dev --constraint requirements.txt -o requirements-dev.txt

.PHONY: check-clients
check-clients: .venv var/clients/.installed ## Make clients from openapi.yaml, and send mail with them
	$(BIN)/python -m pytest -p no:xdist tests/clients/check_clients.py $(ARGS)

# The generators, each in a place of its own: they have nothing to do with what Postroom runs on.
var/clients/.installed: tests/clients/peers.txt tests/clients/package.json
	@mkdir -p var/clients/node && $(BIN)/python -m venv --clear --without-pip var/clients/python
	@$(BIN)/python -m pip --python var/clients/python/bin/python install $(PIP) -qq -r tests/clients/peers.txt
	@cp tests/clients/package.json var/clients/node/ && npm --prefix var/clients/node install --no-audit --no-fund --silent
	@touch $@

.PHONY: crash
crash: .venv ## Kill processes at random while mail is accepted and sent, and audit; ARGS="--kills 10 --messages 800"
	$(BIN)/python -m tests.crash $(ARGS)

.PHONY: bench-delivery
bench-delivery: .venv var/bench/.peers ## Measure draining beside other senders; ARGS="--rounds 2" for less
	$(BIN)/python -m benchmarks.delivery $(ARGS)

.PHONY: bench-accept
bench-accept: .venv ## Measure accepting beside other ways to take mail; ARGS="--rounds 2 --look" for less
	$(BIN)/python -m benchmarks.accept $(ARGS)

.PHONY: bench-backlog
bench-backlog: .venv ## Measure claims, memory and accepts with a million mails waiting
	$(BIN)/python -m benchmarks.backlog $(ARGS)

.PHONY: bench-waiters
bench-waiters: .venv ## Measure what slow clients and waiters cost everybody else
	$(BIN)/python -m benchmarks.waiters $(ARGS)

.PHONY: bench-scale
bench-scale: .venv var/bench/.peers ## Measure 1, 2 and 4 dispatchers on PostgreSQL, by thread, process and Celery
	$(BIN)/python -m benchmarks.scale $(ARGS)

# What cannot be had is left out of the measurement, which says so.
var/bench/.peers: benchmarks/peers.txt benchmarks/package.json
	@mkdir -p var/bench/node && $(BIN)/python -m venv --clear --without-pip var/bench/peers
	@$(BIN)/python -m pip --python var/bench/peers/bin/python install $(PIP) -qq -r benchmarks/peers.txt \
	    || { echo 'Celery cannot be installed and is left out' >&2; rm -rf var/bench/peers; }
	@cp benchmarks/package.json var/bench/node/ && npm --prefix var/bench/node install --no-audit --no-fund --silent \
	    || echo 'nodemailer cannot be installed and is left out' >&2
	@touch $@

.PHONY: wheel
wheel: .venv ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build --no-isolation $(ARGS)

.PHONY: clean
clean: ## Remove what can be made again, but no data
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find api schemas migrations tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: .venv
.venv: .venv/.installed ## Set up .venv as the lock file says, where it is not

# From nothing whenever the lock changed, so that no package of an older lock stays behind.
# Without ensurepip (Debian keeps it in a package of its own) the interpreter's own pip fills the environment.
.venv/.locked: requirements-dev.txt
	@python=; for one in $(CANDIDATES); do \
	    $$one -c '$(IS_FIT)' 2>/dev/null && pace=$$($$one -c '$(PACE)') || continue; \
	    if [ -z "$$python" ] || [ $$((pace * 5)) -lt $$((least * 4)) ]; then python=$$one least=$$pace; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'Needs Python 3.11 or newer with venv and pip (Debian: python3-venv), not found as: $(or $(PYTHON),$(NAMES)).' \
	        'Name one: make PYTHON=/path/to/python' >&2; exit 1; \
	fi; \
	if $$python -c 'import ensurepip' 2>/dev/null; then \
	    $$python -m venv --clear .venv && pip='$(BIN)/python -m pip'; \
	else \
	    $$python -m venv --clear --without-pip .venv && pip="$$python -m pip --python $(BIN)/python"; \
	fi && \
	echo "Filling .venv ($$($(BIN)/python --version)) from requirements-dev.txt: about a minute, once" && \
	$$pip install $(PIP) -qq --require-hashes -r requirements-dev.txt
	@touch $@

# pip compiles the packages; where PYTHONDONTWRITEBYTECODE is set, nobody else would ever compile what stands here.
.venv/.installed: .venv/.locked pyproject.toml
	@$(BIN)/python -m pip install $(PIP) -qq --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check $(PIP)
	@$(BIN)/python -m compileall -q api schemas
	@touch $@
