# Everything starts here: `make` lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
CLIENT := services/edge/browser
BUILT := $(CLIENT)/dist/carillon.js
# With the folder, which changes where a file goes.
CLIENT_SOURCES := $(wildcard $(CLIENT)/*.json $(CLIENT)/*.mjs $(CLIENT)/src $(CLIENT)/src/*)
# A file's tests stay together, because they share servers and pages.
SIDE_BY_SIDE := -n 2 --dist loadfile

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: run
run: .stamps/run ## start the whole platform on http://127.0.0.1:8080 (options: ARGS="--port 9000 --memory")
	@$(MAKE) --silent client || echo "going on without it: /client/carillon.js will say so, and all else works"
	@exec $(BIN)/carillon dev $(ARGS)

.PHONY: client
client: $(BUILT) ## build the browser client (Node.js 20, or from PyPI), where its sources have changed

.PHONY: setup
setup: .stamps/test .stamps/servers .stamps/client-tests ## install all that the tests and benchmarks need

.PHONY: test
test: setup ## every test, with real RabbitMQ, MongoDB and Chromium
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(SIDE_BY_SIDE) --ignore tests/faults $(ARGS)
	@# By themselves: what a kill under load may take is measured in seconds.
	$(BIN)/pytest tests/faults $(ARGS)

.PHONY: check
check: .stamps/test .stamps/client-tests ## format, lint, types, imports, unit tests: seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q $(SIDE_BY_SIDE) tests/unit tests/golden tests/docs tests/contract -m "not servers and not browser"

.PHONY: format
format: .stamps/test ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: setup .stamps/bench ## benchmarks: a table and results/bench.json (options: ARGS="--only append --runs 3")
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: clean
clean: ## remove what the targets above made, except the data in .carillon
	rm -rf .venv .stamps build results $(CLIENT)/dist $(CLIENT)/node_modules $(CLIENT)/test/node_modules *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.stamps/venv:
	@echo "making the virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Carillon needs Python 3.11 or newer: set PYTHON=")'
	@$(PYTHON) -m venv .venv
	@mkdir -p .stamps && touch $@

.stamps/run: .stamps/venv pyproject.toml constraints.txt
	@echo "installing Carillon (pip, about half a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.stamps/test: .stamps/venv pyproject.toml constraints.txt
	@echo "installing Carillon and what its tests need (pip, about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ .stamps/run

.stamps/bench: .stamps/test
	@echo "installing what the benchmarks compare with"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,bench]'
	@touch $@

.stamps/servers: infra/local/install.sh
	@sh infra/local/install.sh
	@touch $@

$(BUILT): $(CLIENT_SOURCES) infra/client.py infra/node.py | .stamps/venv
	@$(BIN)/python -m infra.client
	@touch $@

.stamps/client-tests: $(BUILT) $(CLIENT)/test/package.json
	@$(BIN)/python -m infra.client --for-tests
	@touch $@
