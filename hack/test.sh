#!/usr/bin/env bash
# test.sh [unit|cluster]: set up what the tests need and run them; without an argument, all of them.
# RUN, a pattern of go test, narrows the cluster tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

prepare() {
  step "preparing Helm 3 and 4 (compiled the first time, seconds afterwards)"
  make --no-print-directory bin/testbed bin/helm-neutree
  HELM318=$("$testbed" tool helm-3.18)
  HELM3=$("$testbed" tool helm-3)
  HELM4=$("$testbed" tool helm-4)
  HELM=$HELM4
  KUBECTL=$("$testbed" tool kubectl)
  HELM_NEUTREE="$root/bin/helm-neutree"
  export HELM318 HELM3 HELM4 HELM HELM_NEUTREE KUBECTL
}

unit() {
  step "gofmt, go vet, staticcheck"
  hack/lint.sh
  hack/packages.sh postgresql slapd
  step "unit, chart and database tests"
  go test ./...
  (cd test/testbed && go test ./...)
  step "the chart under Helm 3 and Helm 4: lint, and renders that are the same"
  "$testbed" chart --out bin/chart
  CHART="$root/bin/chart" go test -tags helm ./test/helm
}

lifetime() {
  step "the testbed comes up, survives faults and leaves nothing behind (one that is up is removed first)"
  "$testbed" down
  # An old Kubernetes is for the matrix: it would be compiled for this one test.
  (cd test/testbed && go test -tags e2e -count=1 -timeout 20m -skip "^TestOldKubernetes$" ./lifetime)
}

cluster() {
  local own=${KUBECONFIG:-}
  if [[ -z "$own" ]]; then
    step "building the embedded cluster and its images (about half an hour on two cores the first time)"
    "$testbed" build
    [[ -n "${RUN:-}" ]] || lifetime
  fi
  use_cluster
  use_ct
  if [[ -z "$own" && -z "${RUN:-}" ]]; then
    step "the testbed itself: DNS, volumes, NetworkPolicies"
    (cd test/testbed && go test -tags e2e -count=1 -timeout 15m ./e2e/...)
  fi
  step "the platform on a real cluster"
  go test -tags e2e -count=1 -timeout 90m -v -run "${RUN:-.}" ./test/e2e/...
  if [[ -z "$own" ]]; then
    step "removing the testbed"
    "$testbed" down
  fi
}

case "${1:-all}" in
  all) prepare; unit; cluster ;;
  unit | cluster) prepare; "$1" ;;
  *) echo "usage: test.sh [unit|cluster]" >&2; exit 2 ;;
esac
step "done"
