#!/usr/bin/env bash
# test.sh [unit|cluster]: set up what the tests need and run them; without an argument, all of them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build() {
  step "building the testbed and its tools (about half an hour on two cores the first time, seconds afterwards)"
  make --no-print-directory bin/testbed bin/helm-neutree
  "$testbed" build
  HELM3=$("$testbed" tool helm-3)
  HELM4=$("$testbed" tool helm-4)
  HELM=$HELM4
  export HELM3 HELM4 HELM
}

unit() {
  step "gofmt, go vet, staticcheck"
  hack/lint.sh
  hack/packages.sh postgresql
  step "unit, chart and database tests"
  go test ./...
  (cd test/testbed && go test ./...)
}

cluster() {
  local own=${KUBECONFIG:-}
  use_cluster
  if [[ -z "$own" ]]; then
    step "the testbed itself: DNS, volumes, NetworkPolicies"
    (cd test/testbed && go test -tags e2e -count=1 -timeout 15m ./e2e/...)
  fi
  step "the platform on a real cluster"
  go test -tags e2e -count=1 -timeout 40m -v ./test/e2e/...
  if [[ -z "$own" ]]; then
    step "removing the testbed, which must leave nothing behind"
    "$testbed" down
  fi
}

build
case "${1:-all}" in
  all) unit; cluster ;;
  unit | cluster) "$1" ;;
  *) echo "usage: test.sh [unit|cluster]" >&2; exit 2 ;;
esac
step "done"
