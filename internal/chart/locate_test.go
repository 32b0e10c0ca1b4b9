package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/chart"
)

func TestLocate(t *testing.T) {
	dir := write(t, map[string]string{"plugin/charts/neutree/Chart.yaml": "", "checkout/charts/neutree/Chart.yaml": "", "bin/helm": `#!/bin/sh
echo "$@" >"$CALLED"
case "$2" in
  repo/neutree) : >"$4/neutree-1.2.3.tgz" ;;
  *) echo "no such repository" >&2; exit 1 ;;
esac
`})
	if err := os.Chmod(filepath.Join(dir, "bin/helm"), 0o755); err != nil {
		t.Fatal(err)
	}
	called := filepath.Join(t.TempDir(), "called")
	t.Setenv("CALLED", called)
	t.Setenv("HELM_BIN", filepath.Join(dir, "bin/helm"))
	t.Chdir(filepath.Join(dir, "checkout"))
	plugin := filepath.Join(dir, "plugin")
	tests := map[string]struct {
		plugin, reference, want, err string
	}{
		"the plugin's own":   {plugin: plugin, want: filepath.Join(plugin, "charts/neutree")},
		"that of a checkout": {want: "charts/neutree"},
		"a directory":        {plugin: plugin, reference: "./charts/neutree", want: "./charts/neutree"},
		"no such directory":  {reference: "./charts/nothing", err: "no chart at ./charts/nothing"},
		"a name":             {reference: "neutree", err: "no chart at neutree"},
		"of a repository":    {reference: "repo/neutree", want: "pulled/neutree-1.2.3.tgz"},
		"of no repository":   {reference: "other/neutree", err: "no such repository"},
		"of no oci registry": {reference: "oci://registry/neutree", err: "pull chart oci://registry/neutree"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HELM_PLUGIN_DIR", test.plugin)
			pulled := filepath.Join(t.TempDir(), "pulled")
			if err := os.Mkdir(pulled, 0o755); err != nil {
				t.Fatal(err)
			}
			got, err := chart.Locate(t.Context(), test.reference, "1.2.3", pulled)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error = %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil || !strings.HasSuffix(got, test.want) {
				t.Errorf("Locate = %q, %v, want %q", got, err, test.want)
			}
		})
	}
	if raw, err := os.ReadFile(called); err != nil || !strings.Contains(string(raw), "--version 1.2.3") {
		t.Errorf("Helm was called with %q (%v), want the version", raw, err)
	}
	t.Setenv("HELM_PLUGIN_DIR", "")
	t.Chdir(t.TempDir())
	if _, err := chart.Locate(t.Context(), "", "", ""); err == nil || !strings.Contains(err.Error(), "name one") {
		t.Errorf("without any chart: %v", err)
	}
}
