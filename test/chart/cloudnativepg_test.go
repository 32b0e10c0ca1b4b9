package chart_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// operators are the objects of the bundled operator.
func operators(objects []chart.Object) []chart.Object {
	return slices.DeleteFunc(slices.Clone(withoutCRDs(objects)), func(object chart.Object) bool {
		return !strings.Contains(object.Source, "/charts/"+operator+"/")
	})
}

// The bundled operator has rights over Secrets, pods and roles in the release's namespace alone, unless it is to be shared.
func TestOperatorIsNarrowedToItsNamespace(t *testing.T) {
	sensitive := []string{"secrets", "pods/exec", "pods", "roles", "rolebindings", "configmaps", "serviceaccounts",
		"jobs", "deployments"}
	for name, test := range map[string]struct {
		set    []string
		shared bool
	}{
		"defaults": {},
		"shared":   {set: []string{"cloudnative-pg.config.clusterWide=true"}, shared: true},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, test.set...).Objects
			inside, everywhere := map[string]bool{}, map[string]bool{}
			for _, granted := range rights(t, operators(objects)) {
				for r := range granted {
					if r.namespace == clusterWide {
						everywhere[r.resource] = true
					} else if r.namespace == namespace {
						inside[r.resource] = true
					}
				}
			}
			for _, resource := range sensitive {
				if everywhere[resource] != test.shared || inside[resource] == test.shared {
					t.Errorf("%s: in the whole cluster %t, in the release's namespace %t", resource, everywhere[resource],
						inside[resource])
				}
			}
			watches := map[bool]string{false: namespace, true: ""}[test.shared]
			if got := prepareSpec(t, objects).Operator.Watches; got != watches {
				t.Errorf("prepare.yaml: operator.watches = %q, want %q", got, watches)
			}
			deployment := find[*appsv1.Deployment](t, operators(objects), namespace, releaseName+"-"+operator)
			i := slices.IndexFunc(deployment.Spec.Template.Spec.Containers[0].Env,
				func(v corev1.EnvVar) bool { return v.Name == "WATCH_NAMESPACE" })
			if (i < 0) != test.shared || i >= 0 && deployment.Spec.Template.Spec.Containers[0].Env[i].Value != namespace {
				t.Errorf("the operator's environment is %v", deployment.Spec.Template.Spec.Containers[0].Env)
			}
		})
	}
}

func TestOperatorSpecs(t *testing.T) {
	tag := platform.OperatorImage.Tag
	for name, test := range map[string]struct {
		set  []string
		want hook.OperatorSpec
	}{
		"defaults": {want: hook.OperatorSpec{Cluster: "nap-pg", Bundled: true, RunsIn: namespace, Watches: namespace,
			Image: "ghcr.io/cloudnative-pg/cloudnative-pg:" + tag}},
		"with its definitions": {set: []string{"cloudnative-pg.crds.create=true"},
			want: hook.OperatorSpec{Cluster: "nap-pg", Bundled: true, RunsIn: namespace, Watches: namespace, Rendered: true,
				Image: "ghcr.io/cloudnative-pg/cloudnative-pg:" + tag}},
		"shared, of another image": {set: []string{"cloudnative-pg.config.clusterWide=true",
			"cloudnative-pg.image.repository=mirror/pg", "cloudnative-pg.image.tag=1.30.1"},
			want: hook.OperatorSpec{Cluster: "nap-pg", Bundled: true, RunsIn: namespace, Image: "mirror/pg:1.30.1"}},
		"of some namespaces": {set: []string{"cloudnative-pg.config.clusterWide=true",
			`cloudnative-pg.config.data.WATCH_NAMESPACE=nap\,shop`},
			want: hook.OperatorSpec{Cluster: "nap-pg", Bundled: true, RunsIn: namespace, Watches: "nap,shop",
				Image: "ghcr.io/cloudnative-pg/cloudnative-pg:" + tag}},
		"in another namespace": {set: []string{"cloudnative-pg.config.clusterWide=true",
			"cloudnative-pg.namespaceOverride=cnpg-system"},
			want: hook.OperatorSpec{Cluster: "nap-pg", Bundled: true, RunsIn: "cnpg-system",
				Image: "ghcr.io/cloudnative-pg/cloudnative-pg:" + tag}},
		"borrowed": {set: []string{"cloudnative-pg.enabled=false"}, want: hook.OperatorSpec{Cluster: "nap-pg",
			RunsIn: namespace}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := withoutCRDs(render(t, test.set...).Objects)
			want := test.want
			want.Release, want.Namespace, want.Installation = releaseName, namespace, "neutree-installation"
			want.ConfigMap, want.Definitions = "cnpg-controller-manager-config", platform.ChartFacts().Operator.CRDs
			commands := jobs(t, objects)
			rollback := specOf[hook.RollbackSpec](t, objects, specConfigMap(t, commands["rollback"]), "rollback")
			teardown := specOf[hook.TeardownSpec](t, objects, specConfigMap(t, commands["teardown"]), "teardown")
			specs := map[string]*hook.OperatorSpec{"prepare": prepareSpec(t, objects).Operator, "rollback": rollback.Operator}
			if want.Bundled {
				specs["teardown"], specs["bootstrap"] = teardown.Operator, bootstrapSpec(t, objects).Operator
			} else if teardown.Operator != nil || bootstrapSpec(t, objects).Operator != nil {
				t.Error("an uninstall or the main phase looks at an operator that is not the release's")
			}
			for command, spec := range specs {
				if diff := cmp.Diff(&want, spec); diff != "" {
					t.Errorf("%s.yaml: operator (-want +got):\n%s", command, diff)
				}
			}
			// What a hook asks of the API server it may ask.
			granted := rights(t, ours(objects))
			account := map[string]string{"prepare": "nap-pre-install", "rollback": "nap-rollback", "teardown": "nap-teardown"}
			for command := range specs {
				name, hooked := account[command]
				if !hooked {
					continue
				}
				list := right{clusterWide, "postgresql.cnpg.io", "clusters", "list"}
				if _, may := granted[namespace+"/"+name][list]; !may {
					t.Errorf("%s may not %s", name, list)
				}
				for _, r := range []right{{want.RunsIn, "apps", "deployments", "list"}, {want.RunsIn, "", "configmaps", "get"}} {
					if _, may := granted[namespace+"/"+name][r]; !may {
						t.Errorf("%s may not %s", name, r)
					}
				}
			}
		})
	}
	spec := prepareSpec(t, render(t, "global.upgrade.allowOperatorChange=true").Objects)
	objects := render(t, "uninstall.allowOperatorRemoval=true").Objects
	teardown := specOf[hook.TeardownSpec](t, objects, specConfigMap(t, jobs(t, objects)["teardown"]), "teardown")
	if !spec.Operator.AllowChange || !teardown.Operator.AllowChange {
		t.Error("the values that allow a change reach no hook")
	}
}

// The webhooks of the operator that runs say where that is, also after the values which said so are gone.
func TestTheOperatorDoesNotMoveByAccident(t *testing.T) {
	const before = "cnpg-system"
	there := func(runsIn string) target {
		return target{upgrade: true, answer: func(asked chart.Lookup) map[string]any {
			switch {
			case asked.Kind == "MutatingWebhookConfiguration":
				return map[string]any{
					"metadata": map[string]any{
						"labels": map[string]any{"app.kubernetes.io/managed-by": "Helm"},
						"annotations": map[string]any{"meta.helm.sh/release-name": releaseName,
							"meta.helm.sh/release-namespace": namespace},
					},
					"webhooks": []any{map[string]any{"clientConfig": map[string]any{"service": map[string]any{
						"name": "cnpg-webhook-service", "namespace": runsIn}}}},
				}
			case asked.Kind == "Namespace" && asked.Name == "kube-system", asked.Kind == "CustomResourceDefinition":
				return map[string]any{"metadata": map[string]any{}}
			}
			return nil
		}}
	}
	to := there(before)
	_, err := tryRender(to)
	for _, words := range []string{"runs in namespace cnpg-system", "move it to namespace nap",
		"cloudnative-pg.namespaceOverride=cnpg-system", "global.upgrade.allowOperatorChange=true"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("an operator that moves is not refused with %q: %v", words, err)
		}
	}
	to.set = []string{"global.upgrade.allowOperatorChange=true"}
	renderFor(t, to)
	to.set = []string{"cloudnative-pg.namespaceOverride=" + before, "cloudnative-pg.config.clusterWide=true"}
	renderFor(t, to)
	renderFor(t, there(namespace))

	// One that leaves is looked for where it runs, whatever its name was, and also by a release with an external database.
	for name, set := range map[string][]string{"its own database": nil, "an external database": external} {
		to.set = append([]string{"cloudnative-pg.enabled=false"}, set...)
		objects := renderFor(t, to).Objects
		spec := prepareSpec(t, objects).Operator
		if spec == nil || spec.RunsIn != before || spec.Bundled {
			t.Errorf("%s: the hook looks for the operator by %+v", name, spec)
		}
		granted := rights(t, ours(objects))[namespace+"/nap-pre-install"]
		for _, r := range []right{{before, "apps", "deployments", "list"},
			{clusterWide, "postgresql.cnpg.io", "clusters", "list"}} {
			if _, may := granted[r]; !may {
				t.Errorf("%s: the hook may not %s", name, r)
			}
		}
	}
}

// Every definition of the operator's chart is marked by the hooks, which may change these and no others.
func TestDefinitionsAreProtected(t *testing.T) {
	var names []string
	for _, object := range render(t, "cloudnative-pg.crds.create=true").Main() {
		if object.GetKind() == "CustomResourceDefinition" {
			names = append(names, object.GetName())
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, platform.ChartFacts().Operator.CRDs); diff != "" {
		t.Errorf("the facts' definitions (-rendered +facts):\n%s", diff)
	}
	for name, set := range map[string][]string{"bundled": nil, "borrowed": {"cloudnative-pg.enabled=false"}} {
		marked := 0
		for _, object := range ours(render(t, set...).Objects) {
			role, ok := typed(t, object).(*rbacv1.ClusterRole)
			if !ok {
				continue
			}
			for _, rule := range role.Rules {
				if !slices.Contains(rule.Verbs, "patch") {
					continue
				}
				marked++
				if !slices.Equal(rule.ResourceNames, names) || !slices.Equal(rule.Resources,
					[]string{"customresourcedefinitions"}) {
					t.Errorf("%s: %s may patch %v named %v", name, object, rule.Resources, rule.ResourceNames)
				}
			}
		}
		// What prepares a revision marks them, and with the operator the main phase too, as they are new then.
		if want := map[string]int{"bundled": 2, "borrowed": 1}[name]; marked != want {
			t.Errorf("%s: %d roles may mark the definitions, want %d", name, marked, want)
		}
	}
}

func TestOperatorValuesThatCannotWork(t *testing.T) {
	for name, test := range map[string]struct {
		set  []string
		want string
	}{
		"rights in another namespace": {[]string{"cloudnative-pg.namespaceOverride=cnpg-system"},
			"set cloudnative-pg.config.clusterWide=true, or remove the override"},
		"another namespace watched": {[]string{"cloudnative-pg.config.clusterWide=true",
			"cloudnative-pg.config.data.WATCH_NAMESPACE=shop"},
			"WATCH_NAMESPACE is \"shop\" and lacks nap"},
		"a namespace without rights": {[]string{`cloudnative-pg.config.data.WATCH_NAMESPACE=nap\,shop`},
			"WATCH_NAMESPACE is \"nap,shop\", and with cloudnative-pg.config.clusterWide=false the operator has rights in " +
				"namespace nap only"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tryRender(target{set: test.set}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	render(t, "cloudnative-pg.config.clusterWide=true", `cloudnative-pg.config.data.WATCH_NAMESPACE=shop\, nap`)
	render(t, "cloudnative-pg.config.data.WATCH_NAMESPACE=shop", "cloudnative-pg.enabled=false")
}

// The operator's chart is handed no values but its own, so what global.scheduling lacks there is named.
func TestSchedulingOfTheOperatorIsNamed(t *testing.T) {
	all := `global.scheduling={"nodeSelector":{"pool":"nap"},"tolerations":[{"key":"nap","operator":"Exists"}]}`
	notes := renderFor(t, target{json: []string{all}}).Notes
	if want := "global.scheduling does not reach the CloudNativePG operator: set cloudnative-pg.nodeSelector and " +
		"cloudnative-pg.tolerations too"; !strings.Contains(notes, want) {
		t.Errorf("NOTES.txt does not say %q:\n%s", want, notes)
	}
	own := []string{all, `cloudnative-pg.nodeSelector={"pool":"nap"}`,
		`cloudnative-pg.tolerations=[{"key":"nap","operator":"Exists"}]`}
	for name, to := range map[string]target{"set": {json: own}, "borrowed": {json: []string{all},
		set: []string{"cloudnative-pg.enabled=false"}}, "defaults": {}, "values-ha.yaml": profile("values-ha.yaml")} {
		if notes := renderFor(t, to).Notes; strings.Contains(notes, "global.scheduling does not reach") {
			t.Errorf("%s: NOTES.txt speaks of global.scheduling:\n%s", name, notes)
		}
	}
}

// Quotas refuse containers without requests and limits, and not all nodes run Linux.
func TestOperatorAsksForResourcesAndLinux(t *testing.T) {
	for name, to := range profiles(t) {
		for _, p := range operatorPods(t, renderFor(t, to).Objects) {
			if selector := p.spec().NodeSelector; selector[corev1.LabelOSStable] != "linux" {
				t.Errorf("%s: the operator runs on nodes with %v, want Linux", name, selector)
			}
			for _, c := range p.containers() {
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() ||
					c.Resources.Limits.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: container %s of the operator asks for %+v", name, c.Name, c.Resources)
				}
			}
		}
	}
}

func operatorPods(t *testing.T, objects []chart.Object) []pod {
	t.Helper()
	own := operators(objects)
	if len(own) == 0 {
		return nil
	}
	return pods(t, own)
}

// With values-ha.yaml no pod of the release stays on a node that is gone for Kubernetes' five minutes, and the operator,
// which chooses the new primary, runs twice.
func TestHAProfileLeavesLostNodes(t *testing.T) {
	objects := renderFor(t, profile("values-ha.yaml")).Objects
	for _, p := range append(pods(t, ours(objects)), operatorPods(t, objects)...) {
		if p.from.GetKind() != "Deployment" {
			continue
		}
		for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if !slices.ContainsFunc(p.spec().Tolerations, func(tolerated corev1.Toleration) bool {
				return tolerated.Key == taint && tolerated.Effect == corev1.TaintEffectNoExecute &&
					tolerated.TolerationSeconds != nil && *tolerated.TolerationSeconds == 15
			}) {
				t.Errorf("%s: tolerates %s for another time than 15 s: %v", p.from, taint, p.spec().Tolerations)
			}
		}
	}
	if tolerations := cluster(t,
		objects).Object["spec"].(map[string]any)["affinity"].(map[string]any)["tolerations"]; len(tolerations.([]any)) != 2 {
		t.Errorf("Cluster: tolerations %v", tolerations)
	}
	deployment := find[*appsv1.Deployment](t, operators(objects), namespace, releaseName+"-"+operator)
	if *deployment.Spec.Replicas != 2 {
		t.Errorf("%d operators", *deployment.Spec.Replicas)
	}
	for _, constraint := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
		for key, value := range constraint.LabelSelector.MatchLabels {
			if deployment.Spec.Template.Labels[key] != value {
				t.Errorf("the operators are spread over pods with %s=%s, and are none", key, value)
			}
		}
	}
	if len(deployment.Spec.Template.Spec.TopologySpreadConstraints) == 0 {
		t.Error("both operators may share a node")
	}
}

// Only the operator that serves the database reaches it, and its own metrics are for monitoring alone.
func TestPoliciesOfTheOperator(t *testing.T) {
	const (
		metrics = 8080
		webhook = 9443
	)
	postgres := host{namespace: namespace, labels: map[string]string{"cnpg.io/cluster": "nap-pg"}}
	elsewhere := func(ns string) host {
		return host{namespace: ns, labels: map[string]string{"app.kubernetes.io/name": operator}}
	}
	borrowed := networkOf(t, render(t, "cloudnative-pg.enabled=false",
		"global.database.cnpg.operatorNamespace=cnpg-system").Objects)
	for ns, want := range map[string]bool{"cnpg-system": true, "other": false, workspace: false} {
		for _, port := range []int32{5432, 8000} {
			if got := borrowed.admits(elsewhere(ns), postgres, port); got != want {
				t.Errorf("a pod of %s with the operator's label reaches port %d: %t", ns, port, got)
			}
		}
	}
	// Helm can look for it. The operator that leaves with this revision says nothing about the next one.
	webhooks := func(release, ns string) func(chart.Lookup) map[string]any {
		return func(l chart.Lookup) map[string]any {
			switch l.Kind {
			case "CustomResourceDefinition":
				return map[string]any{"metadata": map[string]any{"name": l.Name}}
			case "MutatingWebhookConfiguration":
				return map[string]any{
					"metadata": map[string]any{
						"labels": map[string]any{"app.kubernetes.io/managed-by": "Helm"},
						"annotations": map[string]any{"meta.helm.sh/release-name": release,
							"meta.helm.sh/release-namespace": ns},
					},
					"webhooks": []any{map[string]any{"clientConfig": map[string]any{
						"service": map[string]any{"namespace": ns}}}},
				}
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		answer func(chart.Lookup) map[string]any
		other  bool
	}{
		"borrowed":     {answer: webhooks("cnpg", "cnpg-system")},
		"its own goes": {answer: webhooks(releaseName, namespace), other: true},
	} {
		found := networkOf(t, renderFor(t, target{upgrade: true, set: []string{"cloudnative-pg.enabled=false"},
			answer: test.answer}).Objects)
		for ns, want := range map[string]bool{"cnpg-system": true, "other": test.other} {
			if got := found.admits(elsewhere(ns), postgres, 8000); got != want {
				t.Errorf("%s: a pod of %s with the operator's label reaches PostgreSQL: %t", name, ns, got)
			}
		}
	}
	moved := networkOf(t, render(t, "cloudnative-pg.namespaceOverride=cnpg-system",
		"cloudnative-pg.config.clusterWide=true").Objects)
	if !moved.admits(moved.hosts["operator"], postgres, 8000) {
		t.Error("the operator in the namespace of cloudnative-pg.namespaceOverride does not reach the database")
	}
	monitor := host{namespace: "monitoring"}
	for name, test := range map[string]struct {
		set    []string
		admits bool
	}{
		"defaults": {}, "monitored": {[]string{"cloudnative-pg.monitoring.podMonitorEnabled=true"}, true},
		"all monitored": {[]string{"global.monitoring.enabled=true"}, true},
	} {
		n := networkOf(t, render(t, test.set...).Objects)
		own := n.hosts["operator"]
		if n.admits(host{namespace: workspace, labels: map[string]string{"app": platform.WorkspaceApp}}, own, metrics) {
			t.Errorf("%s: a workspace reads the operator's metrics", name)
		}
		if got := n.admits(monitor, own, metrics); got != test.admits {
			t.Errorf("%s: monitoring reads the operator's metrics: %t", name, got)
		}
		if !n.admits(host{namespace: "kube-system"}, own, webhook) {
			t.Errorf("%s: the API server does not reach the webhooks", name)
		}
	}
	for _, object := range render(t, "global.networkPolicies.enabled=false").Objects {
		if object.GetKind() == "NetworkPolicy" && object.Hook == nil {
			t.Errorf("%s is rendered", object)
		}
	}
}
