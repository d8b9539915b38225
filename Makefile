# The verbs of this repository. Thin on purpose: what they do is in the programs that they call.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PACKAGES := libs services deploy
# Tests that start no system of several processes: two of their files run at once.
APART := libs services tests/contracts tests/house tests/kubernetes tests/monitoring tests/pipeline
# Kustomizations and the resources of KEDA and of the Prometheus operator are in no schema; tests/kubernetes reads them.
MANIFESTS = $(shell grep --recursive --files-without-match --extended-regexp \
	'^kind: (Kustomization|Component|ScaledObject|PodMonitor|PrometheusRule)$$' deploy/kubernetes --include='*.yaml')
# Named after the folder, so that a moved checkout sets itself up again.
SPECTRAL := deploy/openapi/node_modules/.bin/spectral
STAMP := .venv/setup-$(shell pwd | cksum | cut -d' ' -f1).stamp
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env=SEED env "PATH=$$PATH")

.PHONY: help setup up down test faults faults-tools faults-report faults-nightly lint style types openapi rules workflows dockerfiles kubernetes security audit images compose-up compose-down test-containers \
	plan skew coverage worker-start worker-log worker-stop archive sbom release docs pictures lock \
	bench bench-first bench-million bench-profile bench-api bench-backlog bench-frontier bench-guard bench-restore capacity fuzz-api mutants clean

help: ## List the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(STAMP) ## Make .venv and install what is pinned; does nothing when nothing changed
	@:

$(STAMP): $(wildcard requirements/*.txt) $(wildcard libs/*/pyproject.toml services/*/pyproject.toml deploy/local/pyproject.toml) deploy/local/setup.sh
	@deploy/local/setup.sh
	@touch $@

up: setup ## Start everything on this machine, fetch once, say what to try; Ctrl-C stops it
	@$(BIN)/fetchwork up

down: setup ## Stop what `up` left running
	@$(BIN)/fetchwork down

test: setup ## Run every test, on real Postgres, Redis and Celery
	$(BIN)/python -m pytest --numprocesses 2 $(APART)
	$(BIN)/python -m pytest deploy/local/tests tests $(APART:%=--ignore=%)

faults: setup ## Run every case of the fault suite, on processes of its own: make faults [SEED=1]
	$(BIN)/python -m pytest tests/faults --faults all $(if $(SEED),--faults-seed "$$SEED")

faults-tools: ## Install what some cases of the fault suite need beyond Python; needs apt and root or sudo
	$(if $(filter-out 0,$(shell id -u)),sudo --non-interactive) apt-get update --quiet=2
	$(if $(filter-out 0,$(shell id -u)),sudo --non-interactive) apt-get install --yes --quiet=2 --no-install-recommends libfaketime strace gcc libc6-dev

faults-report: setup ## Kill everything for a quarter of an hour and write docs/reliability.md: make faults-report [SEED=1] [ROUNDS=90]
	$(BIN)/python -m pytest tests/faults/test_everything_killed.py -k round_after_round --faults all -s --faults-rate 120 \
		--faults-rounds $(or $(ROUNDS),90) --faults-report docs/reliability.md $(if $(SEED),--faults-seed "$$SEED")

faults-nightly: ## Run `faults` and then `faults-report` as root, who mounts the small disks that some cases fill
	$(AS_ROOT) $(MAKE) faults
	$(AS_ROOT) $(MAKE) faults-report

lint: style types openapi workflows dockerfiles kubernetes ## Check everything below that can be read without running it

style: setup ## Check style, imports and generated files
	$(BIN)/flake8 $(PACKAGES) tests docs conftest.py
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python deploy/monitoring/write_rules.py --check
	$(BIN)/python deploy/monitoring/write_dashboards.py --check

types: setup ## Check types
	$(BIN)/mypy

openapi: ## Check the OpenAPI document with Spectral, where npm is
	@if command -v npm >/dev/null; then \
		$(MAKE) --no-print-directory $(SPECTRAL) \
		&& $(SPECTRAL) lint --ruleset deploy/openapi/.spectral.yaml --fail-severity hint services/gateway/openapi.json; \
	else echo "Skipped: there is no npm here, so Spectral has not read services/gateway/openapi.json."; fi

$(SPECTRAL): deploy/openapi/package-lock.json
	@echo "Installing what deploy/openapi/package-lock.json pins"
	@npm ci --prefix deploy/openapi --silent
	@touch $@

rules: setup ## Check and test the Prometheus rules with promtool
	$(BIN)/python -m pytest tests/monitoring/test_rules.py

workflows: setup ## Check workflows and every YAML file
	$(BIN)/yamllint --strict .github deploy docker-compose.yml .pre-commit-config.yaml .hadolint.yaml .yamllint.yaml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml

dockerfiles: setup ## Check Dockerfiles and docker-compose.yml
	$(BIN)/hadolint services/*/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml

kubernetes: setup ## Check the manifests against the schemas of the oldest and the newest Kubernetes that we support
	$(BIN)/kubernetes-validate --strict --quiet -k 1.30 $(MANIFESTS)
	$(BIN)/kubernetes-validate --strict --quiet -k 1.37 $(MANIFESTS)

security: setup ## Look for dangerous code and dangerous workflows
	$(BIN)/bandit -c pyproject.toml --quiet --recursive $(PACKAGES)
	$(BIN)/zizmor --offline --persona=pedantic --quiet .github

audit: setup ## Look for known vulnerabilities in what is pinned
	$(BIN)/pip-audit --disable-pip --require-hashes --requirement requirements/dev.txt

images: ## Build the image of each service
	docker compose build

compose-up: ## Start the system in containers and wait until it is healthy
	docker compose up --build --detach --wait

compose-down: ## Stop the containers; their volumes stay
	docker compose down

test-containers: setup ## Run the tests over containers, which need a Docker engine
	$(BIN)/python -m pytest tests/containers tests/integration -k containers

plan: ## Say which services need a new image, and why
	@python3 deploy/pipeline/plan.py

skew: setup ## Run each service's previous release beside the new ones of the others: make skew [PREVIOUS=commit]
	FETCHWORK_SKEW_PREVIOUS="$(PREVIOUS)" $(BIN)/python -m pytest tests/skew

coverage: setup ## Run every test and say what they covered
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

worker-start: setup ## Start a Celery worker in the background, for the pipeline's tests
	@$(BIN)/python deploy/pipeline/worker.py start

worker-log: setup ## Show that worker's log
	@$(BIN)/python deploy/pipeline/worker.py log

worker-stop: setup ## Stop it
	@$(BIN)/python deploy/pipeline/worker.py stop

archive: ## Build one service's image into a file: make archive SERVICE=gateway
	@python3 deploy/pipeline/image.py archive "$(SERVICE)"

sbom: ## Write the bill of materials of such a file: make sbom SERVICE=gateway
	@python3 deploy/pipeline/image.py sbom "$(SERVICE)"

release: ## One step of a release: make release STEP=check SERVICE=gateway
	@python3 deploy/pipeline/release.py "$(STEP)" "$(SERVICE)"

docs: setup ## Write what is generated: documentation, Prometheus rules, dashboards
	@$(BIN)/python docs/generate.py
	@$(BIN)/python deploy/monitoring/write_rules.py
	@$(BIN)/python deploy/monitoring/write_dashboards.py

pictures: setup ## Take the pictures of the status page in docs/pictures again; needs Chromium
	@mkdir -p docs/pictures
	FETCHWORK_STATUS_PICTURES=docs/pictures $(BIN)/python -m pytest -q services/gateway/tests/test_status_browser.py -k everybody

bench-guard: setup ## Measure what the egress guard costs, on kept and on fresh connections
	@$(BIN)/python tests/bench/guard_cost.py --limit 0.9

bench-cohorts: setup ## Measure what it gains that attempts go through their way in cohorts
	@$(BIN)/python tests/bench/cohort_gain.py

bench-backlog: setup ## Measure memory and reads while 100,000 fetches wait
	@$(BIN)/python tests/bench/figures.py --backlog 100000

bench-frontier: setup ## Simulate a million queued fetches; write docs/frontier/: claim cost, fairness, pacing
	@$(BIN)/python tests/bench/frontier_sim.py

bench-api: setup ## Measure what the gateway takes in: single submissions and batches
	@$(BIN)/python tests/bench/api_figures.py

capacity: setup ## Measure how much this machine carries; write the table of docs/operations/capacity.md
	@$(BIN)/python tests/bench/capacity.py

bench-restore: setup ## Measure backup and restore of 100,000 fetches on this machine
	@$(BIN)/python tests/bench/restore_time.py

bench-first: setup ## Measure ready time, latency, throughput and memory on this machine
	@$(BIN)/python tests/bench/figures.py

.venv-bench/pinned: requirements/bench.txt
	@echo "Installing what requirements/bench.txt pins, for the designs beside Fetchwork"
	@$(BIN)/python -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

bench: setup .venv-bench/pinned ## Fetchwork beside Celery, Scrapy and a bare loop; write docs/performance.md: make bench [ONLY=contest]
	@$(BIN)/python tests/bench/performance.py $(if $(ONLY),--only "$$ONLY")

bench-million: setup ## A batch of a million URLs, from its POST to the last row: make bench-million [URLS=1000000]
	@$(BIN)/python tests/bench/million.py $(if $(URLS),"$$URLS")

bench-profile: setup .venv-bench/pinned ## Where fetcher and store spend their time during a batch
	@$(BIN)/python tests/bench/where_time_goes.py

fuzz-api: setup ## Try the API with generated requests, every check: make fuzz-api [SEED=1] [EXAMPLES=100]
	@$(BIN)/python tests/fuzz/run.py $(if $(SEED),--seed $(SEED)) $(if $(EXAMPLES),--examples $(EXAMPLES))

mutants: setup ## Take each rule of the egress guard away and see that a test notices
	@$(BIN)/python tests/mutants/run.py

lock: setup ## Resolve requirements/*.in again
	@requirements/lock.sh

clean: ## Remove caches and build leftovers; .venv and data stay
	rm -rf .mypy_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist deploy/openapi/node_modules
	find $(PACKAGES) tests -name __pycache__ -prune -exec rm -rf {} +
