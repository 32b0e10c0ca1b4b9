package tools

import (
	"fmt"
	"slices"
	"strings"
)

// module is one pinned module below test/testbed/tools and the programs that are built from it.
type module struct {
	// dir is the module's directory below test/testbed/tools.
	dir string
	// title is what a person reads while it is built.
	title string
	// cold is about how long it takes on two cores with nothing compiled yet.
	cold string
	// ldflags are the linker's flags beside those that every tool gets.
	ldflags []string
	// programs maps a tool's name to the package it is built from.
	programs map[string]string
}

func catalogue() []module {
	return []module{
		kubernetes("1.34", "v1.34.4", "kubectl"),
		kubernetes("1.28", "v1.28.15"),
		{
			dir: "etcd", title: "etcd 3.6.5", cold: "45 seconds",
			programs: map[string]string{"etcd": "."},
		},
		{
			dir: "coredns", title: "CoreDNS 1.12.4", cold: "2 minutes",
			programs: map[string]string{"coredns": "."},
		},
		{
			dir: "helm-3", title: "Helm 3.22.0", cold: "4 minutes",
			// Unstamped, Helm 3 renders charts as for Kubernetes 1.20. This is what its own release build stamps.
			ldflags: []string{
				"-X", "helm.sh/helm/v3/internal/version.version=v3.22.0",
				"-X", "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
				"-X", "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37",
				"-X", "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
				"-X", "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37",
			},
			programs: map[string]string{"helm-3": "helm.sh/helm/v3/cmd/helm"},
		},
		{
			// The oldest that the plugin is tested with: what came with it is what the plugin's manifest must do without.
			dir: "helm-3.18", title: "Helm 3.18.6", cold: "2 minutes",
			ldflags: []string{
				"-X", "helm.sh/helm/v3/internal/version.version=v3.18.6",
				"-X", "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
				"-X", "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=33",
				"-X", "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
				"-X", "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=33",
			},
			programs: map[string]string{"helm-3.18": "helm.sh/helm/v3/cmd/helm"},
		},
		{
			dir: "helm-4", title: "Helm 4.3.1", cold: "4 minutes",
			// Helm 4 reads the Kubernetes version from its build information; only its own is stamped.
			ldflags:  []string{"-X", "helm.sh/helm/v4/internal/version.version=v4.3.1"},
			programs: map[string]string{"helm-4": "helm.sh/helm/v4/cmd/helm"},
		},
		{
			dir: "cloudnative-pg", title: "the CloudNativePG operator 1.30.0", cold: "4 minutes",
			ldflags:  []string{"-X", "github.com/cloudnative-pg/cloudnative-pg/pkg/versions.buildVersion=1.30.0"},
			programs: map[string]string{"cnpg-manager": "github.com/cloudnative-pg/cloudnative-pg/cmd/manager"},
		},
		{
			dir: "traefik", title: "Traefik 3.6.12", cold: "4 minutes",
			ldflags:  []string{"-X", "github.com/traefik/traefik/v3/pkg/version.Version=3.6.12"},
			programs: map[string]string{"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
		},
	}
}

func kubernetes(minor, version string, extra ...string) module {
	major, minorOnly, _ := strings.Cut(minor, ".")
	stamp := "k8s.io/component-base/version."
	m := module{
		dir: "kubernetes-" + minor, title: "Kubernetes " + strings.TrimPrefix(version, "v"), cold: "8 minutes",
		ldflags: []string{
			"-X", stamp + "gitVersion=" + version,
			"-X", stamp + "gitMajor=" + major,
			"-X", stamp + "gitMinor=" + minorOnly,
		},
		programs: map[string]string{},
	}
	programs := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}
	for _, program := range append(programs, extra...) {
		m.programs[m.dir+"/"+program] = "k8s.io/kubernetes/cmd/" + program
	}
	return m
}

// Names lists every tool that Build knows, sorted.
func Names() []string {
	var names []string
	for _, m := range catalogue() {
		for name := range m.programs {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// wanted sorts names by the module they come from, in the catalogue's order.
func wanted(names []string) ([]module, map[string][]string, error) {
	var modules []module
	perModule := map[string][]string{}
	known := 0
	for _, m := range catalogue() {
		for name := range m.programs {
			if slices.Contains(names, name) {
				perModule[m.dir] = append(perModule[m.dir], name)
				known++
			}
		}
		if len(perModule[m.dir]) > 0 {
			slices.Sort(perModule[m.dir])
			modules = append(modules, m)
		}
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(names))); known != len(unique) {
		for _, name := range unique {
			if !slices.Contains(Names(), name) {
				return nil, nil, fmt.Errorf("no tool is called %q: there are %s", name, strings.Join(Names(), ", "))
			}
		}
	}
	return modules, perModule, nil
}
