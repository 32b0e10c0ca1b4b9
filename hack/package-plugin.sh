#!/usr/bin/env bash
# package-plugin.sh OS ARCH FILE: an archive of the plugin that installs without network and without Go, the chart included.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

os=$1 arch=$2 file=$3
version=$(sed -n 's/^version: *"\(.*\)"/\1/p' plugin.yaml)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/bin" "$stage/hack" "$stage/charts" "$(dirname "$file")"
cp plugin.yaml plugin.complete LICENSE README.md "$stage/"
cp hack/install-plugin.sh "$stage/hack/"
cp -r charts/neutree "$stage/charts/"
if [[ -n "${HELM_NEUTREE:-}" ]]; then
  cp "$HELM_NEUTREE" "$stage/bin/helm-neutree"
else
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/neutree-ai/packaging/internal/version.version=$version" -o "$stage/bin/helm-neutree" ./plugin
fi
# The same content makes the same archive.
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -czf "$file" $(ls "$stage")
