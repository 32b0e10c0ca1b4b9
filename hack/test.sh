#!/usr/bin/env bash
# test.sh [unit|cluster]: set up what the tests need and run them; without an argument, all of them.
# RUN, a pattern of go test, narrows the cluster tests; TESTBEDS says on how many testbeds they run; with VERBOSE=1 the
# output of those that pass is printed too.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Tests render the chart hundreds of times, and run helm as often: collecting garbage a quarter as often saves a third of
# that. A checker with gigabytes of its own data would take five times as many.
export GOGC=${GOGC:-400}

prepare() {
  step "preparing Helm 3 and 4, kubectl and an S3 server (about 10 minutes on two cores the first time, seconds afterwards)"
  make --no-print-directory bin/testbed bin/helm-neutree
  HELM318=$("$testbed" tool helm-3.18)
  HELM3=$("$testbed" tool helm-3)
  HELM4=$("$testbed" tool helm-4)
  HELM=$HELM4
  KUBECTL=$("$testbed" tool kubectl)
  VERSITYGW=$("$testbed" tool versitygw)
  HELM_NEUTREE="$root/bin/helm-neutree"
  export HELM318 HELM3 HELM4 HELM HELM_NEUTREE KUBECTL VERSITYGW
  published_chart
}

# published_chart sets CLOUDNATIVE_PG_CHART, to nothing where the published chart can't be had, and NOT_COMPARED, the file to
# which tests add a line for each comparison that they can't make. The summary of the cluster tests counts them.
published_chart() {
  CLOUDNATIVE_PG_CHART=$(CLOUDNATIVE_PG_CHART=${CLOUDNATIVE_PG_CHART:-download} "$testbed" published-chart)
  # A path of its own for each run: go test would take a skipped comparison from its cache, and write no line.
  NOT_COMPARED=$(mktemp)
  export CLOUDNATIVE_PG_CHART NOT_COMPARED
}

unit() {
  step "gofmt, go vet, staticcheck"
  env -u GOGC hack/lint.sh
  hack/packages.sh postgresql slapd coturn
  # Run with the cluster tests, each package may take several times as long.
  step "unit, chart and database tests"
  go test -timeout 30m ./...
  (cd test/testbed && go test -timeout 30m ./...)
  step "the chart under Helm 3 and Helm 4: lint, and renders that are the same"
  # Not the folder of the cluster tests, which may be running.
  "$testbed" chart --out bin/chart-unit
  CHART="$root/bin/chart-unit" go test -timeout 30m -tags helm ./test/helm
}

cluster() {
  if [[ -z "${KUBECONFIG:-}" ]]; then
    step "building the embedded cluster and its images (about 5 minutes on two cores the first time)"
    "$testbed" build
  fi
  use_chart
  # The images of version 0.1.0 are in testbeds alone.
  [[ -n "${KUBECONFIG:-}" ]] || use_released
  use_ct
  step "the platform on real clusters; what a test leaves that fails is in bin/test/failed"
  go build -o bin/clustertest ./test/clustertest
  # In place of this shell it gets the signals that are to end it, and takes its testbeds down.
  exec bin/clustertest -testbeds "${TESTBEDS:-}" -alongside "${1:-}"
}

case "${1:-all}" in
  # The cluster tests wait for a part of their time: the unit tests run then, with what is prepared here.
  all) prepare; cluster "hack/test.sh unit-prepared" ;;
  unit-prepared) unit ;;
  unit | cluster) prepare; "$1" ;;
  *) echo "usage: test.sh [unit|cluster]" >&2; exit 2 ;;
esac
step "done; not compared: $(cat "$NOT_COMPARED")"
