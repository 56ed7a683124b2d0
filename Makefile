# Two commands are enough to begin: `make run` and `make test`.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help run build test unit system bench bench-ha release format lint fuzz timing simulate reference sync clean

# One set of flags for the product and the tests, so that nothing is ever built twice.
export SWIFT_FLAGS := -c release -Xswiftc -enable-testing --explicit-target-dependency-import-check error
BINARY := .build/release/holdfast

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'
	@echo "  ARGS='…' goes on to run (flags of the server), system (names of stages) and bench (its flags)."

run: build ## Install what is missing, build, and start a development server (data in memory only)
	@exec $(BINARY) server -dev $(ARGS)

build: ## Install what is missing and build the release binary
	@scripts/bootstrap
	@swift build $(SWIFT_FLAGS) --product holdfast
	@rm -f .build/release/vault && ln -s holdfast .build/release/vault

test: ## Install what is missing, build, and run every test
	@scripts/test

unit: ## Run the unit and tidiness tests only
	@scripts/test unit

system: ## Run the system tests only, or the stages in ARGS
	@scripts/bootstrap --test
	@Tests/System/run $(ARGS)

bench: build ## Measure beside nginx; ARGS=--write puts the figures into docs/benchmarks.md
	@scripts/bootstrap --bench
	@scripts/bench $(ARGS)

bench-ha: build ## Measure a cluster of three nodes; ARGS=--write puts the figures into docs/benchmarks.md
	@scripts/bootstrap --bench
	@scripts/bench-ha $(ARGS)

release: ## Build dist/holdfast: optimized, stripped
	@scripts/release

format: ## Format all Swift code in place
	@swift format --in-place --recursive --parallel Package.swift Sources Tests

lint: ## Say where the code is not formatted
	@swift format lint --strict --recursive --parallel Package.swift Sources Tests

fuzz: ## Run the fuzz entries under AddressSanitizer for SECONDS=60 in all (scripts/fuzz tells more)
	@FUZZ_SECONDS='$(or $(SECONDS),60)' FUZZ_ENTRY='$(ENTRY)' FUZZ_SEED='$(SEED)' FUZZ_INPUT='$(INPUT)' scripts/fuzz

timing: ## Look for secrets in the time that shares take, over a million samples
	@swift build --build-tests $(SWIFT_FLAGS)
	@HOLDFAST_TIMING_SAMPLES=1000000 swift test --skip-build --disable-xctest $(SWIFT_FLAGS) --filter Timing

simulate: ## Run clusters in a simulated bad world (SEEDS=1-100000, or one seed to see it again)
	@scripts/bootstrap
	@swift build --build-tests $(SWIFT_FLAGS)
	@HOLDFAST_SIMULATION_SEEDS=$${SEEDS:-1-10000} swift test --skip-build --disable-xctest $(SWIFT_FLAGS) --filter SimulationTests

reference: ## Write docs/reference and docs/api/openapi.json anew, from the routes
	@swift build --build-tests $(SWIFT_FLAGS)
	@HOLDFAST_WRITE_REFERENCE=1 swift test --skip-build --disable-xctest $(SWIFT_FLAGS) --filter ReferenceTests

sync: ## Copy the shared conformance and fault tests into Tests/System
	@scripts/sync-shared

clean: ## Remove what was built (installed packages stay)
	@rm -rf .build dist
