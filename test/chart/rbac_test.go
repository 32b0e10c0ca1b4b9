package chart_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// clusterWide stands in a right where others have a namespace.
const clusterWide = "*"

// right is one verb on one resource in one namespace.
type right struct{ namespace, group, resource, verb string }

func (r right) String() string {
	name := r.resource
	if r.group != "" {
		name += "." + r.group
	}
	return fmt.Sprintf("%s %s in %s", r.verb, name, r.namespace)
}

// rights are what each ServiceAccount ("namespace/name") may do.
func rights(t *testing.T, objects []chart.Object) map[string]map[right]chart.Object {
	t.Helper()
	roles := map[string][]rbacv1.PolicyRule{}
	for _, object := range objects {
		switch made := typed(t, object).(type) {
		case *rbacv1.Role:
			roles["Role "+namespaceOf(object)+"/"+made.Name] = made.Rules
		case *rbacv1.ClusterRole:
			roles["ClusterRole "+made.Name] = made.Rules
		}
	}
	granted := map[string]map[right]chart.Object{}
	grant := func(object chart.Object, scope string, role string, subjects []rbacv1.Subject) {
		rules, ok := roles[role]
		if !ok {
			t.Errorf("%s: roleRef leads to %s, which is not rendered", object, role)
		}
		for _, subject := range subjects {
			if subject.Kind != rbacv1.ServiceAccountKind || subject.Namespace == "" {
				t.Errorf("%s: subject %v is no ServiceAccount with its namespace", object, subject)
			}
			account := subject.Namespace + "/" + subject.Name
			if granted[account] == nil {
				granted[account] = map[right]chart.Object{}
			}
			for _, rule := range rules {
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						for _, verb := range rule.Verbs {
							granted[account][right{scope, group, resource, verb}] = object
						}
					}
				}
			}
		}
	}
	for _, object := range objects {
		switch made := typed(t, object).(type) {
		case *rbacv1.RoleBinding:
			role := made.RoleRef.Kind + " " + made.RoleRef.Name
			if made.RoleRef.Kind == "Role" {
				role = "Role " + namespaceOf(object) + "/" + made.RoleRef.Name
			}
			grant(object, namespaceOf(object), role, made.Subjects)
		case *rbacv1.ClusterRoleBinding:
			grant(object, clusterWide, "ClusterRole "+made.RoleRef.Name, made.Subjects)
		}
	}
	return granted
}

func TestServicesHaveTheRightsTheyUse(t *testing.T) {
	for name, test := range map[string]struct {
		set   []string
		multi bool
		ns    string
	}{
		"defaults":          {nil, false, workspace},
		"several replicas":  {[]string{"global.workspaces.multiReplica=true"}, true, workspace},
		"another namespace": {[]string{"global.workspaces.namespace=elsewhere"}, false, "elsewhere"},
		"one namespace":     {[]string{"global.workspaces.namespace=" + namespace}, false, namespace},
	} {
		t.Run(name, func(t *testing.T) {
			objects := ours(render(t, test.set...).Main())
			granted := rights(t, objects)
			for _, w := range contract.Workloads() {
				account := namespace + "/" + podOf(t, objects, "Deployment", w.FullName(prefix)).spec().ServiceAccountName
				want := map[right]bool{}
				for _, rule := range w.Rules {
					verbs := rule.Verbs
					if test.multi {
						verbs = slices.Concat(verbs, rule.MultiReplica)
					}
					for _, verb := range verbs {
						want[right{test.ns, rule.Group, rule.Resource, verb}] = true
					}
				}
				if w.Name == "cp" {
					// The administrator's page about the cluster.
					want[right{clusterWide, "", "nodes", "list"}] = true
				}
				for r, object := range granted[account] {
					if !want[r] {
						t.Errorf("%s: ServiceAccount %s may %s, which it does not use", object, account, r)
					}
				}
				for r := range want {
					if _, ok := granted[account][r]; !ok {
						t.Errorf("ServiceAccount %s of %s may not %s", account, w.FullName(prefix), r)
					}
				}
			}
		})
	}
}

func TestNobodyMayDoEverything(t *testing.T) {
	for account, granted := range rights(t, ours(renderAll(t).Objects)) {
		for r, object := range granted {
			if r.group == "*" || r.resource == "*" || r.verb == "*" {
				t.Errorf("%s: ServiceAccount %s may %s: name what is used", object, account, r)
			}
			if slices.Contains([]string{"escalate", "bind", "impersonate"}, r.verb) {
				t.Errorf("%s: ServiceAccount %s may %s, and so give itself any right", object, account, r)
			}
			// They mark the operator's definitions, which are named: see TestDefinitionsAreProtected.
			marks := r.resource == "customresourcedefinitions" && r.verb == "patch"
			if r.namespace == clusterWide && !marks && !slices.Contains([]string{"get", "list", "watch"}, r.verb) {
				t.Errorf("%s: ServiceAccount %s may %s", object, account, r)
			}
			if r.namespace == clusterWide && r.resource == "secrets" {
				t.Errorf("%s: ServiceAccount %s may %s", object, account, r)
			}
		}
	}
}

// Reading Secrets stays with the hooks, which do not outlive their phase.
func TestNothingThatStaysReadsSecrets(t *testing.T) {
	for account, granted := range rights(t, ours(renderAll(t).Main())) {
		for r, object := range granted {
			if r.resource == "secrets" && r.namespace == namespace && slices.Contains([]string{"list", "watch"}, r.verb) {
				t.Errorf("%s: ServiceAccount %s may %s", object, account, r)
			}
		}
	}
}

func TestTokensOnlyWhereRightsAreUsed(t *testing.T) {
	objects := ours(renderAll(t).Objects)
	granted := rights(t, objects)
	for _, p := range pods(t, objects) {
		account := namespaceOf(p.from) + "/" + p.spec().ServiceAccountName
		automount := p.spec().AutomountServiceAccountToken
		if automount == nil {
			t.Errorf("%s: spec.automountServiceAccountToken is not set", p.from)
			continue
		}
		if uses := len(granted[account]) > 0; *automount != uses {
			t.Errorf("%s: spec.automountServiceAccountToken = %t, while ServiceAccount %s has %d rights", p.from, *automount, account, len(granted[account]))
		}
	}
	for _, object := range objects {
		if account, ok := typed(t, object).(*corev1.ServiceAccount); ok {
			if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
				t.Errorf("%s: automountServiceAccountToken is not false", object)
			}
		}
	}
}

func TestNoPodGetsAKubeconfig(t *testing.T) {
	for _, p := range pods(t, ours(renderAll(t).Objects)) {
		for _, c := range p.containers() {
			if _, set := variables(t, p, c)["KUBECONFIG"]; set {
				t.Errorf("%s: container %s sets KUBECONFIG", p.from, c.Name)
			}
		}
		for _, volume := range p.spec().Volumes {
			if volume.HostPath != nil || volume.Secret != nil && strings.Contains(strings.ToLower(volume.Secret.SecretName), "kubeconfig") {
				t.Errorf("%s: volume %s could hold a kubeconfig: %+v", p.from, volume.Name, volume.VolumeSource)
			}
		}
	}
}

// Cluster-scoped names are shared by all installations of a cluster.
func TestClusterScopedNamesCarryTheNamespace(t *testing.T) {
	for _, object := range ours(renderAll(t).Objects) {
		scoped := map[string]bool{"ClusterRole": true, "ClusterRoleBinding": true}
		if scoped[object.GetKind()] && !strings.HasPrefix(object.GetName(), namespace+"-") {
			t.Errorf("%s: the name does not start with the namespace %s", object, namespace)
		}
	}
	for _, object := range ours(renderAll(t).Objects) {
		if slices.Contains([]string{"ClusterRole", "ClusterRoleBinding", "Namespace"}, object.GetKind()) && object.GetNamespace() != "" {
			t.Errorf("%s: metadata.namespace is set on a cluster-scoped object", object)
		}
	}
}

func TestPrefixReachesEveryName(t *testing.T) {
	fixed := map[string]bool{workspace: true, "sandbox-image-warmer": true, "coturn": true, "coturn-external": true, "neutree-installation": true}
	for _, name := range []string{"afs-controller", platform.FuseConfig, platform.ControllerConfig, platform.ControllerClaim, platform.SharedClaim} {
		fixed[name] = true
	}
	names := map[string]bool{}
	for _, object := range ours(renderAll(t, "global.namePrefix=acme").Objects) {
		name := strings.TrimPrefix(object.GetName(), namespace+"-")
		if !strings.HasPrefix(name, "acme-") && !fixed[object.GetName()] {
			t.Errorf("global.namePrefix=acme: %s does not start with it", object)
		}
		names[object.GetKind()] = true
	}
	if len(names) < 5 {
		t.Errorf("only the kinds %v are rendered", slices.Sorted(maps.Keys(names)))
	}
}
