package operator

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const crdPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

// deployment is an operator's in the namespace nap. byHelm is the release that it belongs to, empty where another tool
// has applied it.
func deployment(byHelm, release, version, watches string) string {
	marks := ""
	if byHelm != "" {
		marks = fmt.Sprintf(`, annotations: {meta.helm.sh/release-name: %s, meta.helm.sh/release-namespace: nap}`, byHelm)
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata:
  {name: neutree-cloudnative-pg, namespace: nap, labels: {app.kubernetes.io/name: cloudnative-pg, app.kubernetes.io/managed-by: Helm}%s}
spec:
  template:
    metadata: {labels: {app.kubernetes.io/name: cloudnative-pg, app.kubernetes.io/instance: %s}}
    spec: {containers: [{name: manager, image: "ghcr.io/cloudnative-pg/cloudnative-pg:%s", env: [{name: WATCH_NAMESPACE, value: "%s"}]}]}
`, marks, release, version, watches)
}

func cluster(namespace, name string) string {
	return fmt.Sprintf("apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: %s, namespace: %s}\n", name,
		namespace)
}

func hibernated(namespace, name string) string {
	return strings.TrimSuffix(cluster(namespace, name), "}\n") + ", annotations: {cnpg.io/hibernation: \"on\"}}\n"
}

// bundled is a revision with the operator, narrowed to the release's namespace.
func bundled() hook.OperatorSpec {
	return hook.OperatorSpec{Release: "neutree", Namespace: "nap", Cluster: "nap-pg", Bundled: true, RunsIn: "nap",
		ConfigMap: "cnpg-controller-manager-config", Image: "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0", Watches: "nap",
		Rendered: true, Installation: "neutree-installation"}
}

func with(change func(*hook.OperatorSpec)) hook.OperatorSpec {
	spec := bundled()
	change(&spec)
	return spec
}

func TestCheck(t *testing.T) {
	wide := with(func(s *hook.OperatorSpec) { s.Watches = "" })
	dropped := with(func(s *hook.OperatorSpec) { s.Bundled, s.Image, s.Watches, s.Rendered = false, "", "", false })
	ours := deployment("neutree", "neutree", "1.30.0", "")
	const narrowConfig = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cnpg-controller-manager-config, " +
		"namespace: nap}\n" +
		"data: {WATCH_NAMESPACE: \"nap, other\"}"
	for name, test := range map[string]struct {
		spec    hook.OperatorSpec
		objects []string
		// want are the words of each finding in their order.
		want []string
	}{
		"the first install of a cluster": {spec: bundled()},
		"an install where another namespace has a database": {spec: bundled(), objects: []string{cluster("shop", "orders")},
			want: []string{"contains a CloudNativePG operator, and the cluster already has databases of others: Cluster " +
				"shop/orders " +
				"--set cloudnative-pg.enabled=false --set global.upgrade.allowOperatorChange=true " +
				"cloudnative-pg.config.clusterWide=true"}},
		"an install where the own database was kept": {spec: bundled(), objects: []string{cluster("nap", "nap-pg"),
			cluster("nap", "mine")}},
		"an install where an uninstall left one": {spec: bundled(), objects: []string{hibernated("old", "nap-pg")}},
		"an install of an operator of all namespaces": {spec: wide, objects: []string{cluster("shop", "orders")},
			want: []string{"Cluster shop/orders"}},
		"an install that is allowed": {spec: with(func(s *hook.OperatorSpec) { s.AllowChange = true }),
			objects: []string{cluster("shop", "orders")}},
		"an install that borrows an operator": {spec: dropped, objects: []string{cluster("shop", "orders")}},
		"an upgrade that changes nothing":     {spec: wide, objects: []string{ours, cluster("shop", "orders")}},
		"an upgrade of another tool": {spec: wide, objects: []string{deployment("", "neutree", "1.30.0", ""),
			cluster("shop", "orders")}},
		"an upgrade that narrows": {spec: bundled(), objects: []string{ours, cluster("shop", "orders"), cluster("nap",
			"mine")},
			want: []string{"would no longer look after other databases: Cluster shop/orders set " +
				"cloudnative-pg.config.clusterWide=true " +
				"--set global.upgrade.allowOperatorChange=true"}},
		"an upgrade of another tool that narrows": {spec: bundled(),
			objects: []string{deployment("", "neutree", "1.30.0", ""), cluster("shop",
				"orders")}, want: []string{"Cluster shop/orders"}},
		"an upgrade that narrows where nothing is elsewhere": {spec: bundled(), objects: []string{ours, cluster("nap",
			"nap-pg")}},
		"an upgrade of a narrow one": {spec: bundled(),
			objects: []string{deployment("neutree", "neutree", "1.30.0", "nap"), cluster("shop", "orders")}},
		"an upgrade of one that its ConfigMap narrows": {spec: bundled(), objects: []string{ours, narrowConfig,
			cluster("shop", "orders"),
			cluster("other", "theirs")}, want: []string{"look after other databases: Cluster other/theirs set"}},
		"an upgrade that removes it": {spec: dropped, objects: []string{ours, cluster("shop", "orders"), cluster("nap",
			"nap-pg"), cluster("nap", "mine")},
			want: []string{"would remove the CloudNativePG operator on which other databases depend: Cluster nap/mine, " +
				"Cluster shop/orders " +
				"keep cloudnative-pg.enabled=true global.upgrade.allowOperatorChange=true"}},
		"an upgrade that removes it where only its own depends": {spec: dropped, objects: []string{ours, cluster("nap",
			"nap-pg")}},
		"an upgrade that removes it during a drill": {spec: dropped, objects: []string{ours, strings.TrimSuffix(cluster("nap",
			"nap-drill"), "}\n") + ", labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: drill}}\n"}},
		"an upgrade next to the operator of another release": {spec: dropped,
			objects: []string{deployment("pg", "pg", "1.30.0", ""), cluster("shop", "orders")}},
		"an older minor version": {spec: wide, objects: []string{deployment("neutree", "neutree", "1.31.0", "")},
			want: []string{"would go back from 1.31.0 to 1.30.0, and its definitions with it operator 1.31.0 or newer " +
				"allowOperatorChange=true"}},
		"an older patch release": {spec: wide, objects: []string{deployment("neutree", "neutree", "1.30.2", "")}},
		"a newer version":        {spec: wide, objects: []string{deployment("neutree", "neutree", "1.29.4", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			findings, err := Check(t.Context(), kubetest.New(t, test.objects...).Client(), test.spec)
			if err != nil {
				t.Fatal(err)
			}
			want(t, findings, test.want...)
		})
	}
}

// want compares findings with the words that each must contain, in this order.
func want(t *testing.T, findings []finding.Finding, words ...string) {
	t.Helper()
	if len(findings) != len(words) {
		t.Fatalf("findings %v, want %d", findings, len(words))
	}
	for i, f := range findings {
		rest := f.Sentence()
		for _, word := range strings.Fields(words[i]) {
			_, after, found := strings.Cut(rest, word)
			if !found {
				t.Errorf("no %q after the words before it in: %s", word, f.Sentence())
				break
			}
			rest = after
		}
	}
}

// A revision without the operator may have no right to list what depends on it. Then nothing is taken for harmless.
func TestWhatCannotBeListedIsNotHarmless(t *testing.T) {
	server := kubetest.New(t, deployment("neutree", "neutree", "1.30.0", ""))
	server.Refuse(-1, "GET", "/apis/postgresql.cnpg.io/v1/clusters", kubetest.Status(403, metav1.StatusReasonForbidden,
		`clusters.postgresql.cnpg.io is forbidden: User "hook" cannot list resource "clusters" in API group "postgresql.cnpg.io" at the cluster scope`))
	dropped := with(func(s *hook.OperatorSpec) { s.Bundled = false })
	findings, err := Check(t.Context(), server.Client(), dropped)
	if err != nil {
		t.Fatal(err)
	}
	want(t, findings, "could not be checked (hook may not list clusters.postgresql.cnpg.io in the whole cluster) "+
		"allowOperatorChange=true")
	findings, err = Dependents(t.Context(), server.Client(), bundled())
	if err != nil {
		t.Fatal(err)
	}
	want(t, findings, "could not be checked (hook may not list clusters.postgresql.cnpg.io in the whole cluster)")
}

func TestManyDatabasesAreCounted(t *testing.T) {
	objects := []string{deployment("neutree", "neutree", "1.30.0", "")}
	for i := range 1203 {
		objects = append(objects, cluster(fmt.Sprintf("team-%04d", i), "pg"))
	}
	findings, err := Check(t.Context(), kubetest.New(t, objects...).Client(), bundled())
	if err != nil {
		t.Fatal(err)
	}
	want(t, findings, "Cluster team-0000/pg, Cluster team-0009/pg, and 1193 more")
}

func TestDependents(t *testing.T) {
	ours := deployment("neutree", "neutree", "1.30.0", "")
	for name, test := range map[string]struct {
		objects []string
		want    []string
	}{
		"no operator was ever made": {objects: []string{cluster("shop", "orders")}},
		"only the own database":     {objects: []string{ours, cluster("nap", "nap-pg")}},
		"a hibernated one":          {objects: []string{ours, hibernated("shop", "orders")}},
		"one it does not look after": {objects: []string{deployment("neutree", "neutree", "1.30.0", "nap"), cluster("shop",
			"orders")}},
		"others": {objects: []string{ours, cluster("shop", "orders"), cluster("nap", "mine")}, want: []string{
			"this uninstall would remove the CloudNativePG operator Cluster nap/mine, Cluster shop/orders kubectl annotate " +
				"--overwrite " +
				"configmap neutree-installation --namespace nap neutree.ai/remove-operator=true helm uninstall helm rollback " +
				"neutree"}},
	} {
		t.Run(name, func(t *testing.T) {
			findings, err := Dependents(t.Context(), kubetest.New(t, test.objects...).Client(), bundled())
			if err != nil {
				t.Fatal(err)
			}
			want(t, findings, test.want...)
		})
	}
}

func crd(name, annotations string) string {
	return fmt.Sprintf("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %s, "+
		"labels: "+
		"{app.kubernetes.io/managed-by: Helm}, annotations: {helm.sh/resource-policy: keep%s}}", name, annotations)
}

func TestProtect(t *testing.T) {
	const name = "clusters.postgresql.cnpg.io"
	const of = ", meta.helm.sh/release-namespace: nap, meta.helm.sh/release-name: "
	for title, test := range map[string]struct {
		annotations    string
		elsewhere      bool // the revision does not contain the operator
		options, prune string
	}{
		"as its chart has it": {options: "Prune=false,Delete=false", prune: "disabled"},
		"with options": {annotations: `, argocd.argoproj.io/sync-options: "ServerSideApply=true, Delete=false"`,
			options: "ServerSideApply=true, Delete=false,Prune=false", prune: "disabled"},
		"with a confirmation": {annotations: ", argocd.argoproj.io/sync-options: Prune=confirm",
			options: "Prune=confirm,Delete=false", prune: "disabled"},
		"pruned on purpose": {annotations: ", kustomize.toolkit.fluxcd.io/prune: enabled",
			options: "Prune=false,Delete=false", prune: "enabled"},
		"of another release": {annotations: of + "pg", options: "Prune=false,Delete=false", prune: "disabled"},
		"brought until now": {annotations: of + "neutree", elsewhere: true, options: "Prune=false,Delete=false",
			prune: "disabled"},
		"brought by another tool":                           {elsewhere: true, options: "Prune=false,Delete=false", prune: "disabled"},
		"of the release with the operator that is borrowed": {annotations: of + "pg", elsewhere: true},
	} {
		t.Run(title, func(t *testing.T) {
			server := kubetest.New(t, crd(name, test.annotations))
			spec := with(func(s *hook.OperatorSpec) {
				s.Bundled, s.Definitions = !test.elsewhere, []string{"backups.postgresql.cnpg.io", name}
			})
			var log bytes.Buffer
			for run := range 2 {
				changed, err := Protect(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), server.Client(), spec)
				if expect := run == 0 && test.options != ""; err != nil || (changed > 0) != expect {
					t.Errorf("run %d: changed %d, error %v", run+1, changed, err)
				}
			}
			live := server.Object(crdPath + name).GetAnnotations()
			if got := live["argocd.argoproj.io/sync-options"]; got != test.options {
				t.Errorf("options of ArgoCD are %q, want %q", got, test.options)
			}
			if got := live["kustomize.toolkit.fluxcd.io/prune"]; got != test.prune {
				t.Errorf("Flux's pruning is %q, want %q", got, test.prune)
			}
			if live["helm.sh/resource-policy"] != "keep" {
				t.Errorf("Helm's policy is gone: %v", live)
			}
		})
	}
}
