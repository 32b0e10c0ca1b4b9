#!/usr/bin/env bash
# bench.sh: boot time and memory of the testbed; install and workspace times on 3 nodes and on 1, each once cold (no
# image on the nodes) and once warm; where their seconds go; what users notice of upgrades, kept as
# bin/bench/upgrade.json; how long no login works when a node is lost; migrations against psql; preflight's reading
# checks on a cluster of 5,000 nodes; the life of a release with 10,000 workspaces.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make --no-print-directory bin/testbed bin/helm-neutree
export HELM_NEUTREE="$root/bin/helm-neutree"
"$testbed" build
HELM3=$("$testbed" tool helm-3)
HELM4=$("$testbed" tool helm-4)
export HELM3 HELM4
unset KUBECONFIG
for nodes in 3 1; do
  "$testbed" down
  begin=$SECONDS
  "$testbed" up --nodes "$nodes"
  printf '\n%d nodes Ready and images served after %d s\n' "$nodes" "$((SECONDS - begin))"
  "$testbed" status
  CHART="$root/bin/chart"
  "$testbed" chart --out "$CHART"
  kubeconfig=$("$testbed" kubeconfig)
  KUBECONFIG=$kubeconfig CHART=$CHART \
    go test -tags e2e -run '^$' -bench BenchmarkInstall -benchtime 1x -count 2 -timeout 30m ./test/e2e
done
"$testbed" down

step "where the seconds go, upgrades while users ask, and preflight of a good cluster"
"$testbed" up --nodes 3
BENCH_JSON="$root/bin/bench/upgrade.json" KUBECONFIG=$("$testbed" kubeconfig) CHART=$CHART \
  go test -tags e2e -run '^$' -bench '^(BenchmarkTime|BenchmarkInstallAgainstBare|BenchmarkUpgrade|BenchmarkPreflight)$' -benchtime 1x -timeout 30m ./test/e2e
"$testbed" down

step "a node of three is lost, with values-ha.yaml"
"$testbed" up --nodes 3
TESTBED="$testbed" KUBECONFIG=$("$testbed" kubeconfig) CHART=$CHART \
  go test -tags e2e -run '^$' -bench BenchmarkLostNode -benchtime 1x -timeout 60m ./test/e2e
"$testbed" down

step "migrations against psql"
hack/packages.sh postgresql
go test -run '^$' -bench BenchmarkOverhead -benchtime 20x ./internal/migrate

step "preflight on 5,000 nodes and 50,000 pods"
"$testbed" up --nodes 1
KUBECONFIG=$("$testbed" kubeconfig) CHART=$CHART \
  go test -tags e2e -run '^$' -bench BenchmarkPreflightHuge -benchtime 1x -timeout 20m ./test/e2e
"$testbed" down

step "a release with ${WORKSPACES:-10,000} workspaces on 500 nodes that kwok plays"
KWOK=$("$testbed" tool kwok)
# What kwok does with nodes and pods is said in files of its module.
KWOK_STAGES=$(cd test/testbed/tools/kwok && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
export KWOK KWOK_STAGES
# The testbed's own agent would work out the rules for all pods at each change of one.
"$testbed" up --nodes 1 --network-policies=false
KUBECONFIG=$("$testbed" kubeconfig) CHART=$CHART \
  go test -tags e2e -run '^$' -bench BenchmarkManyWorkspaces -benchtime 1x -timeout 180m -v ./test/e2e
"$testbed" down
