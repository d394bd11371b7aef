# GNU make. `make` alone lists the targets.
SHELL := bash

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TESTFLAGS ?=
BENCH     ?= .
FUZZ      ?= .
FUZZTIME  ?= 5m
DURATION  ?= 60s

LINT_VERSION := v2.15.0
LINT         := bin/golangci-lint-$(LINT_VERSION)
VULN_VERSION := v1.9.0
VULN         := bin/govulncheck-$(VULN_VERSION)

.PHONY: help build test faults load chaos lint vuln bench fuzz demo trial docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/iexecform
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/iexecform ./cmd/iexecform

test: ## Run all tests (TESTFLAGS=-race, …)
	go test -timeout 60m $(TESTFLAGS) ./...
	cd examples/policy && go test -count=1 $(TESTFLAGS) ./...

# Without a package's name go test shows what a test prints.
faults: ## Run the fault scenarios B-1 to B-60, one line each (part of test)
	cd cmd/iexecform && go test -count=1 -timeout 30m $(TESTFLAGS) -run '^TestFaults$$'

load: ## Run eight writers against one state on each store (DURATION=60s; a few rounds are part of test)
	LOAD_DURATION=$(DURATION) go test -count=1 -timeout 60m -run '^TestLoad$$' -v ./cmd/iexecform | grep -E 'writers|FAIL|^ok'

chaos: ## Tell random stories of edits, crashes, faults and what others do (DURATION=60s)
	cd cmd/iexecform && CHAOS_DURATION=$(DURATION) go test -count=1 -timeout 0 $(TESTFLAGS) -run '^TestChaos$$' -v -rapid.nofailfile

lint: $(LINT) ## Run the linters
	$(LINT) run

# Built once from source, in its own module: it is no dependency of this one.
$(LINT):
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv bin/golangci-lint $@

vuln: $(VULN) ## Look for known vulnerabilities of what the program calls (needs jq)
	.ci/vuln $(VULN)

$(VULN):
	GOBIN=$(CURDIR)/bin go install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)
	mv bin/govulncheck $@

bench: ## Run the benchmarks (BENCH=regexp)
	go test -timeout 60m -run '^$$' -bench '$(BENCH)' -benchmem ./...

fuzz: ## Fuzz each fuzz target for a while (FUZZ=regexp of ./package/FuzzTarget, FUZZTIME=5m)
	@set -eo pipefail; git grep -o '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sed 's|/[^/]*:func |/|; s|^|./|' | grep -E '$(FUZZ)' | while read -r target; do \
	  echo "$$target for $(FUZZTIME)"; \
	  go test -run '^$$' -fuzz "^$${target##*/}\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$${target%/*}"; \
	done

demo: build ## Show a plan and an apply on a network of your own machine
	PATH="$(CURDIR)/bin:$$PATH" examples/demo.sh

trial: build ## Show an image being tried before its app is deployed and sold (needs a container engine)
	PATH="$(CURDIR)/bin:$$PATH" examples/trial.sh

docs: build ## Write the reference pages again, from the schemas
	bin/iexecform docs docs/reference
	bin/iexecform docs --comparison=cmd/iexecform/testdata docs

clean: ## Remove what was built
	rm -rf bin
