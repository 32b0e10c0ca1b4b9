#!/bin/sh
# Called by `helm plugin install` and `helm plugin update`: sees to it that bin/helm-neutree is there.
# A release archive brings it. HELM_NEUTREE_TGZ names such an archive for a checkout without it; else Go builds it.
set -eu
cd "${HELM_PLUGIN_DIR:?is set by Helm}"
version=$(sed -n 's/^version: *"\(.*\)"/\1/p' plugin.yaml)

if [ -n "${HELM_NEUTREE_TGZ:-}" ]; then
  mkdir -p bin
  # Written beside it and renamed: a command of an older version may be running.
  tar -xzf "$HELM_NEUTREE_TGZ" -O bin/helm-neutree >bin/helm-neutree.new
  chmod 755 bin/helm-neutree.new
  mv bin/helm-neutree.new bin/helm-neutree
elif [ -x bin/helm-neutree ] && bin/helm-neutree version | grep -q "^$version "; then
  : # It came in the archive, or was built before.
elif command -v go >/dev/null 2>&1; then
  echo "building helm neutree $version (about a minute the first time)" >&2
  CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/neutree-ai/packaging/internal/version.version=$version" -o bin/helm-neutree ./plugin
else
  echo "helm neutree has to be built, and there is no Go here: install the archive for this platform from" >&2
  echo "https://github.com/neutree-ai/packaging/releases, or name it in HELM_NEUTREE_TGZ and install again" >&2
  exit 1
fi
bin/helm-neutree version
