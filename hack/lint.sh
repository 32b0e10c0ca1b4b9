#!/usr/bin/env bash
# gofmt, go vet and staticcheck over every module of this repository.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

unformatted=$(gofmt -l .)
if [[ -n "$unformatted" ]]; then
  printf 'gofmt would change these files, run gofmt -w on them:\n%s\n' "$unformatted" >&2
  exit 1
fi

mkdir -p bin
(cd hack/tools && go build -o "$root/bin/staticcheck" honnef.co/go/tools/cmd/staticcheck)
for module in . test/testbed; do
  (cd "$module" && go vet -tags e2e,gitops,helm ./... && "$root/bin/staticcheck" -tags e2e,gitops,helm ./...)
done

go run ./hack/facts --check
make --no-print-directory bin/helm-docs
go run ./hack/readme --check
