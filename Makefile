# The verbs of this repository. Thin on purpose: what they do is in the programs that they call.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PACKAGES := libs services deploy
# Named after the folder, so that a moved checkout sets itself up again.
STAMP := .venv/setup-$(shell pwd | cksum | cut -d' ' -f1).stamp

.PHONY: help setup up down test lint types security audit images compose-up compose-down test-containers \
	plan coverage worker-start worker-log worker-stop archive sbom release docs lock bench clean

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
	$(BIN)/python -m pytest

lint: setup types ## Check style, imports, types, generated files, workflows, Dockerfiles and manifests
	$(BIN)/flake8 $(PACKAGES) tests docs conftest.py
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/yamllint --strict .github deploy docker-compose.yml .pre-commit-config.yaml .hadolint.yaml .yamllint.yaml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint services/*/Dockerfile

types: setup ## Check types
	$(BIN)/mypy

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
	$(BIN)/python -m pytest tests/containers

plan: ## Say which services need a new image, and why
	@python3 deploy/pipeline/plan.py

coverage: setup ## Run every test and say what they covered
	$(BIN)/coverage run -m pytest
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

docs: setup ## Write the generated documentation
	@$(BIN)/python docs/generate.py

bench: setup ## Measure ready time, latency, throughput and memory on this machine
	@$(BIN)/python tests/bench/figures.py

lock: setup ## Resolve requirements/*.in again
	@requirements/lock.sh

clean: ## Remove caches and build leftovers; .venv and data stay
	rm -rf .mypy_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist
	find $(PACKAGES) tests -name __pycache__ -prune -exec rm -rf {} +
