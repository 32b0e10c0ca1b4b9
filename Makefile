# Everything a command needs it sets up itself, pinned, and keeps in bin/ and in the testbed's cache.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO         ?= go
VERSION    := $(shell sed -n 's/^version: *"\(.*\)"/\1/p' plugin.yaml)
LDFLAGS    := -s -w -X github.com/neutree-ai/packaging/internal/version.version=$(VERSION)
BUILD      := $(GO) build -buildvcs=false -ldflags "$(LDFLAGS)"
NODES      ?= 3
KUBERNETES ?= 1.34
REGISTRY   ?= ghcr.io/neutree-ai/packaging

# As in internal/gobuild: what is compiled alike is compiled once, for programs, tests and vet.
export CGO_ENABLED := 0
export GOFLAGS     := -trimpath -gcflags=all=-dwarf=false

# With KUBECONFIG set, demo and cluster tests use that cluster; otherwise they bring up the testbed.
export KUBECONFIG

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## --- for people

.PHONY: demo
demo: bin/testbed ## Install the platform, on the embedded cluster unless KUBECONFIG names another
	hack/demo.sh up

.PHONY: demo-down
demo-down: bin/testbed ## Remove what demo brought up
	hack/demo.sh down

.PHONY: test
test: ## Set up everything and run every test
	hack/test.sh

## --- parts of the test

.PHONY: lint
lint: ## gofmt, go vet and staticcheck over every module
	hack/lint.sh

.PHONY: test-unit
test-unit: ## Unit, chart and database tests (no cluster)
	hack/test.sh unit

.PHONY: test-e2e
test-e2e: ## Cluster tests, on the testbed or on KUBECONFIG's cluster
	hack/test.sh cluster

.PHONY: matrix
matrix: ## Every values file on every Helm and Kubernetes version (hours; not part of test)
	hack/matrix.sh

.PHONY: soak
soak: ## Everything breaks ten times while a release changes (hours; PART=1/9 for a part; make test has a short form)
	hack/soak.sh

.PHONY: bench
bench: ## Boot and install times, what users notice of upgrades, migrations against psql
	hack/bench.sh

## --- things to build

.PHONY: generate
generate: bin/helm-docs ## Write the chart's facts, its schemas' shared definitions, and its README
	$(GO) run ./hack/facts
	$(GO) run ./hack/readme

.PHONY: plugin
plugin: bin/helm-neutree ## Build the Helm plugin's binary

.PHONY: plugin-archives
plugin-archives: ## Write the plugin's archives, which install without network and without Go, to dist/
	for platform in linux-amd64 linux-arm64 darwin-amd64 darwin-arm64; do \
	  hack/package-plugin.sh $${platform%-*} $${platform#*-} dist/helm-neutree-$(VERSION)-$$platform.tgz; \
	done

.PHONY: images
images: ## Write the image of nap-hooks for amd64 and arm64 to dist/nap-hooks.oci.tar
	$(GO) run ./hack/image --output dist/nap-hooks.oci.tar

.PHONY: push
push: ## Publish the image of nap-hooks to REGISTRY
	$(GO) run ./hack/image --push $(REGISTRY)/nap-hooks:$(VERSION)

.PHONY: testbed-build
testbed-build: bin/testbed ## Build the cluster's binaries and images into the cache
	bin/testbed build

.PHONY: up
up: bin/testbed ## Bring up the embedded cluster
	bin/testbed up --nodes $(NODES) --kubernetes $(KUBERNETES)

.PHONY: down
down: bin/testbed ## Remove the embedded cluster
	bin/testbed down

.PHONY: bin/testbed bin/helm-neutree bin/nap-hooks bin/helm-docs
bin/testbed:
	cd test/testbed && $(GO) build -buildvcs=false -o ../../bin/testbed ./cmd/testbed
bin/helm-neutree:
	$(BUILD) -o bin/helm-neutree ./plugin
bin/nap-hooks:
	$(BUILD) -o bin/nap-hooks ./cmd/nap-hooks

bin/helm-docs:
	cd hack/tools && $(GO) build -o ../../bin/helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs

.PHONY: clean
clean: ## Remove what was built here (the testbed's cache stays)
	rm -rf bin dist
