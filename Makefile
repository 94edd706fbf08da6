PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install up compose-up test test-browser fuzz chaos check lint check-deploy check-upgrade released bench bench-check \
	simulate audit sbom proto docs lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## Install Tollhouse and its tools into .venv

$(INSTALLED): requirements-dev.lock requirements-sdk1.lock pyproject.toml tests/node/package-lock.json \
		scripts/install.sh
	@PYTHON="$(PYTHON)" sh scripts/install.sh
	@touch $(INSTALLED)

up: $(INSTALLED)  ## Start everything on this machine; Ctrl-C stops it
	@$(BIN)/tollhouse up

compose-up:  ## Start everything in containers, with the simulator, and print a call that works (needs Docker)
	@sh deploy/secrets.sh deploy/compose/secrets postgres:5432 nats:4222
	docker compose --profile simulator up --build --detach --wait load-balancer simulator
	@docker compose --profile simulator run --rm demo

test: $(INSTALLED)  ## Run every test but the slow suites
	$(BIN)/pytest

fuzz: $(INSTALLED)  ## Send thousands of odd requests to every endpoint, other ones each time (EXAMPLES=2000)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),2000) $(BIN)/pytest tests/contract/test_fuzz.py

chaos: $(INSTALLED)  ## Restart, kill and stop every process under load, then audit the books (about seven minutes)
	$(BIN)/pytest tests/chaos

check-upgrade: $(INSTALLED)  ## Upgrade the release before (UPGRADE_FROM=COMMIT) under load, process by process
	$(BIN)/pytest tests/upgrade

test-browser: $(INSTALLED)  ## Drive the console with the system's Chromium; pictures in tests/browser/screenshots
	@sh scripts/browser.sh
	$(BIN)/pytest tests/browser

check: lint  ## What `lint` does, and unit and docs tests
	$(BIN)/pytest tests/unit tests/docs -q

lint: $(INSTALLED)  ## Format, style, types, import contracts, protos
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/released.binpb
	$(BIN)/python scripts/generate_protos.py --check

check-deploy: $(INSTALLED)  ## Check Dockerfile, docker-compose.yml and deploy/k8s; run the compose file without an engine
	@PYTHON="$(PYTHON)" sh scripts/check_deploy.sh

bench: $(INSTALLED)  ## Measure everything, and write it into docs/BENCHMARKS.md (needs wrk; half an hour)
	$(BIN)/python bench/report.py $(BENCH)

bench-check: $(INSTALLED)  ## Fail where a budget of bench/budgets.toml is passed (needs wrk; six minutes)
	$(BIN)/python bench/check.py $(BENCH)

simulate: $(INSTALLED)  ## Simulate 100,000 requests a second with 50 edges, and check that no money is overspent (a minute)
	$(BIN)/python bench/simulation.py

audit:  ## Look up the locked packages, and their licences, for what is known against them (needs the package index)
	@PYTHON="$(PYTHON)" sh scripts/audit.sh

sbom:  ## Write sbom.cdx.json, the CycloneDX bill of the locked packages that run (needs the package index)
	@PYTHON="$(PYTHON)" sh scripts/sbom.sh

proto: $(INSTALLED)  ## Generate proto/gen from proto/tollhouse
	$(BIN)/python scripts/generate_protos.py

released: $(INSTALLED)  ## After a release: what later messages must be compatible with
	$(BIN)/buf build proto --exclude-source-info -o proto/released.binpb

docs: $(INSTALLED)  ## Generate docs/CONFIG.md, ERRORS.md and METRICS.md, and the dashboards
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/generate_rules.py
	$(BIN)/python scripts/generate_dashboards.py

lock: $(INSTALLED)  ## Resolve the lock files anew from pyproject.toml
	sh scripts/lock.sh

clean:  ## Remove what the other commands make; keeps the state folder and secrets
	rm -rf .venv .venv-deploy sbom.cdx.json tests/browser/screenshots tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
