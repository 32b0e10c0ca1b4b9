#!/usr/bin/env bash
# matrix.sh: on every Kubernetes version that the testbed boots, under Helm 3 and Helm 4: the chart installed by ct with
# each of its values files, and on one node the life of a release; in one cell also in a service mesh, with the next major
# version of PostgreSQL, that of an Application of ArgoCD by ArgoCD's own sync engine, and that of a HelmRelease under Flux's
# controllers. It takes hours. The table it ends with is also in bin/matrix.md, and grows there as the results come.
#
# CELLS names some of it, Kubernetes/Helm each, in the order they are to run: CELLS="1.34/4" make matrix
# VALUES names some of the values files: VALUES="sandbox browser" make matrix
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cells=${CELLS:-1.34/4 1.28/3 1.37/4 1.34/3 1.28/4 1.37/3}
# Here every values file is also upgraded with, elsewhere only the default one; and here ArgoCD is tried.
upgrades=1.34/4
life="(a release's life, on one node)"
argocd="(an Application of ArgoCD, on one node)"
flux="(a release's life under Flux's controllers, on one node)"

read -ra values <<<"${VALUES:-$(basename --suffix=-values.yaml -a charts/neutree/ci/*-values.yaml | tr '\n' ' ')}"

make --no-print-directory bin/testbed bin/helm-neutree
for cell in $cells; do "$testbed" build --for matrix --kubernetes "${cell%/*}"; done
HELM3=$("$testbed" tool helm-3)
HELM4=$("$testbed" tool helm-4)
HELM_NEUTREE="$root/bin/helm-neutree"
export HELM3 HELM4 HELM_NEUTREE
unset KUBECONFIG
use_ct
ARGOCD_SYNC="$root/bin/argocd-sync"
export ARGOCD_SYNC
(cd test/gitops/argocd && go vet . && go test . && go build -o "$ARGOCD_SYNC" .)
use_flux
go test -tags e2e,gitops -c -o bin/e2e.test ./test/e2e
results=$(mktemp)
trap 'rm -f "$results"' EXIT
failed=0

# note CELL ROW RESULT: adds a result to the table.
note() {
  printf '%s\t%s\t%s\n' "$@" >>"$results"
  awk -F '\t' '
    !($1 in columns) { columns[$1]; column[++width] = $1 }
    !($2 in rows) { rows[$2]; row[++height] = $2 }
    { result[$1, $2] = $3 }
    END {
      head = "| values file |"; rule = "| --- |"
      for (c = 1; c <= width; c++) {
        split(column[c], version, "/")
        head = head " Kubernetes " version[1] ", Helm " version[2] " |"; rule = rule " --- |"
      }
      print head; print rule
      for (r = 1; r <= height; r++) {
        line = "| " row[r] " |"
        for (c = 1; c <= width; c++) line = line " " result[column[c], row[r]] " |"
        print line
      }
    }' "$results" >bin/matrix.md
}

# try CELL ROW TEST: runs a test on the cluster that is up, and notes how it ended.
try() {
  local result=passed began=$SECONDS
  step "Kubernetes ${1%/*}, Helm ${1#*/}: $2"
  (cd test/e2e && "$root/bin/e2e.test" -test.v -test.timeout 80m -test.run "^$3\$") || { result=FAILED; failed=1; }
  note "$1" "$2" "$result, $((SECONDS - began)) s"
}

# boot NODES KUBERNETES: a new cluster.
boot() {
  "$testbed" down
  unset KUBECONFIG
  NODES=$1 KUBERNETES=$2 use_cluster matrix
}

for cell in $cells; do
  kubernetes=${cell%/*} helm=${cell#*/}
  boot 3 "$kubernetes"
  for name in "${values[@]}"; do
    if [[ "$name" == nfs ]]; then
      note "$cell" "$name" "shown to the API server only: the nodes have no NFS client"
      continue
    fi
    [[ "$cell" != "$upgrades" ]] || export UPGRADES=$name
    HELMS=$helm CI_VALUES=$name try "$cell" "$name" TestChartTesting
    unset UPGRADES
  done
  [[ "$cell" != "$upgrades" ]] || try "$cell" "(in a service mesh)" TestMesh
  boot 1 "$kubernetes"
  case $helm in
    3) try "$cell" "$life" TestHelm3 ;;
    4) try "$cell" "$life" TestLifecycle ;;
  esac
  [[ "$cell" != "$upgrades" ]] || try "$cell" "(the next major version of PostgreSQL)" TestMajorUpgrade
  [[ "$cell" != "$upgrades" ]] || try "$cell" "$argocd" TestArgoCD
  [[ "$cell" != "$upgrades" ]] || try "$cell" "$flux" TestFlux
done
"$testbed" down
cat bin/matrix.md
step "done"
exit "$failed"
