# Everything a person or a machine does with the project, by name.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BINARY := .build/release/edge-proxy
PYTEST := .venv/bin/python -m pytest
JOBS ?= 4
ARGUMENTS ?=
SECONDS ?= 600

.PHONY: help run build test test-unit test-e2e test-sanitized soak lint certs bench gate fuzz install bench-install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: install certs build ## Install what is missing, build, and start the demo on :8443
	$(BINARY) demo $(ARGUMENTS)

install: ## Install what building and testing need (apt and a Python environment in .venv)
	@Scripts/install-dependencies

bench-install: ## Install the same and the proxies that benchmarks are compared with
	@Scripts/install-dependencies --bench

build: ## Build the release binary
	swift build -c release

test: install ## Run every test: unit, layering, format, end to end
	swift test
	$(MAKE) --no-print-directory lint build
	$(PYTEST) Tests/EndToEnd -n $(JOBS) $(ARGUMENTS)

test-unit: ## Run the unit and layering tests
	swift test $(ARGUMENTS)

test-e2e: install build ## Run the end-to-end tests against the release binary
	$(PYTEST) Tests/EndToEnd -n $(JOBS) $(ARGUMENTS)

test-sanitized: install ## Run the unit tests and a part of the others under both sanitizers
	Scripts/test-sanitized $(ARGUMENTS)

soak: install build ## A million mixed requests over 10 000 ids, and a scan of a million ids (minutes)
	EDGE_SOAK_REQUESTS=1000000 EDGE_SOAK_IDS=10000 $(PYTEST) Tests/EndToEnd/test_soak.py -s $(ARGUMENTS)
	EDGE_SCAN_IDS=1000000 $(PYTEST) Tests/EndToEnd/test_id_scan.py -s $(ARGUMENTS)

lint: ## Check the format of every Swift file
	swift format lint --strict --parallel --recursive Package.swift Sources Tests Fuzz

certs: ## Make development certificates in certs/ where they are missing
	certs/make-development-certificates

bench: bench-install build ## Measure instructions, allocations and work per CPU second beside peers
	Benchmarks/run $(ARGUMENTS)

gate: install build ## Fail when instructions, allocations or system calls per request have changed
	Benchmarks/run --gate --quick --only instructions,allocations,syscalls $(ARGUMENTS)

fuzz: ## Run every fuzz target for SECONDS each (600), two at a time
	Fuzz/run all $(SECONDS)

clean: ## Remove what was built (certificates and .venv stay)
	rm -rf .build .build-* bench-out
	find Tests -name __pycache__ -prune -exec rm -rf {} +
