# Chengtu: the commands of the project. `make help` lists them.
SHELL := bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint unit clients acceptance services bench docs lock setup setup-dev clean

BIN := .venv/bin

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Python and browser packages for serving
	@scripts/setup run

setup-dev: ## the same for the tests
	@scripts/setup dev

demo: setup ## a real city on http://127.0.0.1:8000
	@exec $(BIN)/chengtu demo --home data

services: ## install (as root) and check the Debian packages the tests use
	@scripts/services install

test: ## lint, types, layers and the first tier of tests: what CI runs
	@scripts/check_tools >/dev/null
	scripts/services install
	scripts/setup dev
	$(MAKE) --no-print-directory lint unit

lint:
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	scripts/lint_docker

unit:
	@$(BIN)/python -m pytest -n 3 --dist loadfile tests

clients: setup-dev ## QGIS, GDAL, Chromium, npm and every other client
	@scripts/services install clients
	scripts/qgis_trixie install
	$(BIN)/python -m pytest -m clients tests

acceptance: setup-dev ## large data, load and full fuzzing
	@scripts/services install clients
	$(BIN)/python -m pytest -m acceptance tests

bench: setup-dev ## CPU per request, beside vanilla pygeoapi
	@scripts/services install clients
	$(BIN)/python -m benchmarks

docs: setup-dev ## build the documentation into site/
	@$(BIN)/mkdocs build --strict

lock: setup-dev ## compile the pinned lists anew
	@scripts/lock

clean: ## remove what the commands made
	@rm -rf .venv node_modules site .mypy_cache .ruff_cache .pytest_cache
