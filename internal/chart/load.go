package chart

import (
	"fmt"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/getter"
)

// Load reads a chart from a directory or archive and sees that its dependencies are there. Rendering a
// chart changes it, so each Render needs a freshly loaded one.
func Load(path string) (*helmchart.Chart, error) {
	ch, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", path, err)
	}
	present := map[string]bool{}
	for _, dependency := range ch.Dependencies() {
		present[dependency.Name()] = true
	}
	var missing []string
	for _, dependency := range ch.Metadata.Dependencies {
		if !present[dependency.Name] {
			missing = append(missing, dependency.Name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("chart %s lacks its dependencies %s: run `helm dependency build %s`",
			path, strings.Join(missing, ", "), path)
	}
	return ch, nil
}

// Values merges values files and single settings as `helm install` does: files in their order, then
// --set-json, --set, --set-string and --set-file.
func Values(opts values.Options) (map[string]any, error) {
	merged, err := opts.MergeValues(getter.All(cli.New()))
	if err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	return merged, nil
}

// Kubernetes is the cluster that a chart is rendered for.
type Kubernetes struct {
	// Version is the server's version, e.g. "1.34" or "v1.34.4+k3s1". It has no default: the one in Helm's
	// library is years old, and a chart of today refuses it.
	Version string
	// APIVersions are group/version and group/version/Kind beside the built-in ones.
	APIVersions []string
}

func (k Kubernetes) capabilities() (*chartutil.Capabilities, error) {
	caps := chartutil.DefaultCapabilities.Copy()
	version, err := chartutil.ParseKubeVersion(k.Version)
	if err != nil {
		return nil, fmt.Errorf("version of Kubernetes %q: %w", k.Version, err)
	}
	caps.KubeVersion = *version
	caps.APIVersions = append(caps.APIVersions[:len(caps.APIVersions):len(caps.APIVersions)], k.APIVersions...)
	return caps, nil
}
