package tools

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// clients is the module of Helm. It has the versions that the project itself is built from, so that what they share is
// compiled once.
const clients = "clients"

// module is what is built in one step from a pinned module below test/testbed/tools.
type module struct {
	// dir is the module's directory below test/testbed/tools.
	dir string
	// title is what a person reads while it is built.
	title string
	// cold is about how long it takes on two cores with nothing compiled yet.
	cold string
	// ldflags are the linker's flags besides those that every tool gets.
	ldflags []string
	// programs maps a tool's name to the package it is built from. Tools of one package are one program, which acts by
	// the name it is called with.
	programs map[string]string
	// stubs maps packages of other modules to the directories below dir whose files take their place, where nearly all of
	// the time would go into what no test uses.
	stubs map[string]string
	// rare says that make test does without it: it is built where it is asked for by name.
	rare bool
}

func catalogue() []module {
	return []module{
		withPeers(kubernetes("1.34", "v1.34.4")),
		kubernetes("1.28", "v1.28.15"),
		kubernetes("1.37", "v1.37.2"),
		{
			// For those Kubernetes versions that want a newer one than Debian's.
			dir: "containerd-2", title: "containerd 2.4.2", cold: "2 minutes",
			ldflags: []string{"-X", "github.com/containerd/containerd/v2/version.Version=v2.4.2"},
			programs: map[string]string{
				"containerd-2/containerd":              "github.com/containerd/containerd/v2/cmd/containerd",
				"containerd-2/containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			},
		},
		{
			dir: clients, title: "Helm 3.22.0", cold: "1 minute",
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
			dir: clients, title: "Helm 4.3.2", cold: "1 minute",
			// Helm 4 reads the Kubernetes version from its build information; only its own is stamped.
			ldflags:  []string{"-X", "helm.sh/helm/v4/internal/version.version=v4.3.2"},
			programs: map[string]string{"helm-4": "helm.sh/helm/v4/cmd/helm"},
		},
		{
			// It does not compile with the versions of clients.
			dir: "cloudnative-pg", title: "the CloudNativePG operator 1.30.0", cold: "3 minutes",
			ldflags:  []string{"-X", "github.com/cloudnative-pg/cloudnative-pg/pkg/versions.buildVersion=1.30.0"},
			programs: map[string]string{"cnpg-manager": "github.com/cloudnative-pg/cloudnative-pg/cmd/manager"},
		},
		{
			// Each replaces the same module by another version of it, so they can't share one. Newer versions of both need
			// modules or a Go that can't be had everywhere.
			dir: "flux-helm-controller", title: "Flux's helm-controller 1.6.2", cold: "6 minutes", rare: true,
			programs: map[string]string{"flux-helm-controller": "github.com/fluxcd/helm-controller"},
		},
		{
			dir: "flux-source-controller", title: "Flux's source-controller 1.9.3", cold: "6 minutes", rare: true,
			programs: map[string]string{"flux-source-controller": "github.com/fluxcd/source-controller"},
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
			// It plays nodes that are not there, and runs their pods in name only.
			dir: "kwok", title: "kwok 0.8.0", cold: "2 minutes", rare: true,
			programs: map[string]string{"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
		},
		{
			dir: "traefik", title: "Traefik 3.6.12", cold: "4 minutes",
			ldflags:  []string{"-X", "github.com/traefik/traefik/v3/pkg/version.Version=3.6.12"},
			programs: map[string]string{"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
			stubs: map[string]string{
				"github.com/go-acme/lego/v4/providers/dns":       "dns",
				"github.com/traefik/traefik/v3/pkg/provider/ecs": "ecs",
			},
		},
		{
			// The S3 server of tests of backups.
			dir: "versitygw", title: "the S3 server versitygw 1.8.0", cold: "3 minutes",
			programs: map[string]string{"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
		},
	}
}

func kubernetes(minor, version string) module {
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
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		m.programs[m.dir+"/"+program] = "./kubernetes"
	}
	return m
}

// withPeers adds to a Kubernetes what every cluster runs or is used with, whatever its version. They share so many
// packages with it that to compile them apart costs minutes.
func withPeers(m module) module {
	m.title += ", etcd 3.6.5 and CoreDNS 1.12.4"
	m.programs["etcd"] = "./etcd"
	m.programs["coredns"] = "./coredns"
	m.programs["kubectl"] = "./kubernetes"
	return m
}

// Names lists every tool that Build knows, sorted.
func Names() []string { return names(func(module) bool { return true }) }

// Usual lists those that make test needs, sorted.
func Usual() []string { return names(func(m module) bool { return !m.rare }) }

func names(wanted func(module) bool) []string {
	var names []string
	for _, m := range catalogue() {
		if !wanted(m) {
			continue
		}
		for name := range m.programs {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// selection is a module with those of its tools that are wanted.
type selection struct {
	module
	names []string
}

// wanted finds the modules that the named tools come from, in the catalogue's order.
func wanted(names []string) ([]selection, error) {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("no tool is called %q: there are %s", name, strings.Join(Names(), ", "))
		}
	}
	var selections []selection
	for _, m := range catalogue() {
		s := selection{module: m}
		for _, name := range slices.Sorted(maps.Keys(m.programs)) {
			if slices.Contains(names, name) {
				s.names = append(s.names, name)
			}
		}
		if len(s.names) > 0 {
			selections = append(selections, s)
		}
	}
	return selections, nil
}
