#!/usr/bin/env bash
# test.sh [unit|cluster]: set up what the tests need and run them; without an argument, all of them.
# RUN, a pattern of go test, narrows the cluster tests. Without it they run on two testbeds side by side, since they wait
# most of the time.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
RUN=${RUN:-}

prepare() {
  step "preparing Helm 3 and 4 (compiled the first time, seconds afterwards)"
  make --no-print-directory bin/testbed bin/helm-neutree
  HELM318=$("$testbed" tool helm-3.18)
  HELM3=$("$testbed" tool helm-3)
  HELM4=$("$testbed" tool helm-4)
  HELM=$HELM4
  HELM_NEUTREE="$root/bin/helm-neutree"
  export HELM318 HELM3 HELM4 HELM HELM_NEUTREE
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
    [[ -n "$RUN" ]] || lifetime
  fi
  use_cluster
  use_ct
  if [[ -z "$own$RUN" ]]; then
    step "the testbed itself: DNS, volumes, NetworkPolicies"
    (cd test/testbed && go test -tags e2e -count=1 -timeout 15m ./e2e/...)
  fi
  go test -tags e2e -c -o bin/e2e.test ./test/e2e
  if [[ -n "$own$RUN" ]]; then
    step "the platform on a real cluster"
    run -test.run "${RUN:-.}"
  else
    both
  fi
  if [[ -z "$own" ]]; then
    step "removing the testbed"
    "$testbed" down
  fi
}

# These have limits of seconds, which nothing beside them is to use up.
alone='^Test(Preflight|Probes)'
# Of the others, those that take half of the time.
half='^Test(Backup|ChartTesting|Faults|Lifecycle)$'

# run FLAG...: cluster tests, on the cluster of KUBECONFIG.
run() { (cd test/e2e && "$root/bin/e2e.test" -test.v -test.timeout 90m "$@"); }

both() {
  local second log="$root/bin/beside.log" failed=0 status=0
  step "the platform on two real clusters; what the second says comes when it is done, and is in $log until then"
  hack/beside.sh hack/test.sh beside >"$log" 2>&1 &
  second=$!
  # shellcheck disable=SC2064 # It is known now.
  trap "kill $second 2>/dev/null || true" EXIT
  run -test.run "$half" || failed=1
  wait "$second" || status=$?
  trap - EXIT
  cat "$log"
  case $status in
    0) ;;
    69) step "the other half"; run -test.skip "$half|$alone" || failed=1 ;;
    *) failed=1 ;;
  esac
  step "tests of seconds"
  run -test.run "$alone" || failed=1
  return "$failed"
}

# beside is the second half, on a testbed in namespaces of its own.
beside() {
  unset KUBECONFIG
  export NEUTREE_TESTBED_STATE=/var/lib/neutree-testbed-beside
  "$testbed" down
  use_cluster
  run -test.skip "$half|$alone"
  "$testbed" down
}

case "${1:-all}" in
  all) prepare; unit; cluster ;;
  unit | cluster) prepare; "$1" ;;
  beside) beside ;;
  *) echo "usage: test.sh [unit|cluster]" >&2; exit 2 ;;
esac
step "done"
