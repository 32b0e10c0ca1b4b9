package requirement

import (
	"fmt"
	"path/filepath"

	helmchart "helm.sh/helm/v3/pkg/chart"
	helmvalues "helm.sh/helm/v3/pkg/cli/values"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/chart"
)

// Options say what would be installed, and where.
type Options struct {
	// Chart is a directory or an archive.
	Chart     string
	Release   string
	Namespace string
	Values    helmvalues.Options
	// Kubernetes is the cluster to render for, Cluster what the template function lookup asks.
	Kubernetes chart.Kubernetes
	Cluster    *rest.Config
	// Upgrade says that the release is there already.
	Upgrade bool
}

// Load renders the chart as Helm would and derives what it needs.
//
// A chart that refuses what it finds in the cluster is rendered once more without it, so that everything else is
// known as well; Set.Refusal then holds its words.
func Load(o Options) (*Set, error) {
	merged, err := chart.Values(o.Values)
	if err != nil {
		return nil, err
	}
	nulls := chart.Nulls(merged)
	rendered, of, err := render(o, merged, o.Cluster)
	refusal := ""
	if err != nil && o.Cluster != nil {
		refusal = err.Error()
		var again error
		if rendered, of, again = render(o, merged, nil); again != nil {
			return nil, again
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	set, err := Of(rendered, o.Release, o.Namespace, of)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", o.Chart, err)
	}
	set.Refusal, set.KeptNulls = refusal, rendered.Kept(nulls)
	set.Lookups = func() ([]chart.Lookup, error) { return lookups(o, merged) }
	return set, nil
}

func render(o Options, merged map[string]any, cluster *rest.Config) (*chart.Rendered, Chart, error) {
	loaded, err := chart.Load(o.Chart)
	if err != nil {
		return nil, Chart{}, err
	}
	path, err := filepath.Abs(o.Chart)
	if err != nil {
		return nil, Chart{}, err
	}
	of := Chart{Path: path, Name: loaded.Name(), Version: loaded.Metadata.Version, KubeVersion: loaded.Metadata.KubeVersion}
	rendered, err := chart.Render(loaded, chart.Options{
		Release: o.Release, Namespace: o.Namespace, Values: merged, Kubernetes: o.Kubernetes, Upgrade: o.Upgrade, Cluster: cluster,
	})
	return rendered, of, err
}

// lookups lists what the templates ask the cluster for, whatever it holds.
func lookups(o Options, merged map[string]any) ([]chart.Lookup, error) {
	load := func() (*helmchart.Chart, error) { return chart.Load(o.Chart) }
	return chart.Lookups(load, chart.Options{Release: o.Release, Namespace: o.Namespace, Values: merged, Kubernetes: o.Kubernetes, Upgrade: o.Upgrade})
}
