package rbac

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/release"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func object(t *testing.T, document string, hook bool) requirement.Object {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &u.Object); err != nil {
		t.Fatal(err)
	}
	o := requirement.Object{Unstructured: u, By: requirement.Helm}
	if hook {
		o.Hook = &chart.Hook{Events: []release.HookEvent{release.HookPreInstall}}
	}
	return o
}

const (
	deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: nap-cp, namespace: nap}}`
	crd        = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: x.y, annotations: {helm.sh/resource-policy: keep}}}`
	role       = `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: work}, rules: [{apiGroups: [""], resources: [secrets], verbs: [create]}, {apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}]}`
	clusterRl  = `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: c}, rules: [{apiGroups: [""], resources: [secrets], verbs: ["*"]}, {nonResourceURLs: [/metrics], verbs: [get]}]}`
	bindView   = `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: nap}, roleRef: {kind: ClusterRole, name: view}}`
	job        = `{apiVersion: batch/v1, kind: Job, metadata: {name: j, namespace: nap}}`
)

func needs(t *testing.T, objects ...requirement.Object) []string {
	t.Helper()
	all, err := Needs(&requirement.Set{Namespace: "nap", Release: "n", Objects: objects}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, need := range all {
		line := need.String()
		if need.Granted {
			line += " (granted)"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestNeeds(t *testing.T) {
	records := []string{
		"get secrets in namespace nap", "list secrets in namespace nap", "create secrets in namespace nap",
		"update secrets in namespace nap", "delete secrets in namespace nap",
	}
	for _, tc := range []struct {
		name    string
		objects []requirement.Object
		want    []string
	}{
		{name: "an empty release", want: records},
		{
			name: "a Deployment", objects: []requirement.Object{object(t, deployment, false)},
			want: slices.Concat([]string{"list pods in namespace nap"}, records, []string{
				"get deployments.apps in namespace nap", "list deployments.apps in namespace nap", "watch deployments.apps in namespace nap",
				"create deployments.apps in namespace nap", "patch deployments.apps in namespace nap", "delete deployments.apps in namespace nap",
				"list replicasets.apps in namespace nap",
			}),
		},
		{
			name: "a kept object of the whole cluster", objects: []requirement.Object{object(t, crd, false)},
			want: append([]string{
				"list customresourcedefinitions.apiextensions.k8s.io in the whole cluster",
				"watch customresourcedefinitions.apiextensions.k8s.io in the whole cluster",
				"create customresourcedefinitions.apiextensions.k8s.io in the whole cluster",
				"get customresourcedefinitions.apiextensions.k8s.io x.y in the whole cluster",
				"patch customresourcedefinitions.apiextensions.k8s.io x.y in the whole cluster",
			}, records...),
		},
		{
			name: "a hook's log", objects: []requirement.Object{object(t, job, true)},
			want: slices.Concat([]string{"list pods in namespace nap", "get pods/log in namespace nap"}, records, []string{
				"get jobs.batch in namespace nap", "list jobs.batch in namespace nap", "watch jobs.batch in namespace nap",
				"create jobs.batch in namespace nap", "patch jobs.batch in namespace nap", "delete jobs.batch in namespace nap",
			}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, needs(t, tc.objects...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNobodyGrantsWhatTheyDoNotHold(t *testing.T) {
	for _, tc := range []struct {
		name     string
		document string
		want     []string
	}{
		{"a Role", role, []string{"create secrets in namespace work (granted)", "patch deployments/scale.apps in namespace work (granted)"}},
		// Whoever holds all verbs on Secrets needs nothing else for them.
		{"a ClusterRole", clusterRl, []string{"get /metrics (granted)", "* secrets in the whole cluster (granted)"}},
		{"somebody else's role", bindView, []string{"bind clusterroles.rbac.authorization.k8s.io view in the whole cluster (granted)"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := needs(t, object(t, tc.document, false))
			for _, want := range tc.want {
				if !slices.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
				}
			}
		})
	}
	if got := needs(t, object(t, clusterRl, false)); slices.Contains(got, "create secrets in namespace nap") {
		t.Errorf("a right is there that a wider one covers:\n%s", strings.Join(got, "\n"))
	}
}

func TestWrite(t *testing.T) {
	made := object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: work, annotations: {helm.sh/resource-policy: keep}}}`, false)
	set := &requirement.Set{Namespace: "nap", Release: "n", Objects: []requirement.Object{made, object(t, role, false)}}
	all, err := Needs(set, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := ParseSubject("serviceaccount:ci:deployer")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Write(&out, set, all, Options{Subjects: append(Options{}.Subjects, subject)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"kind: ClusterRole\nmetadata:\n  name: nap-n-installer\nrules:\n# What Helm does itself.\n- apiGroups: [\"\"]\n  resources: [\"namespaces\"]\n  verbs: [\"list\", \"watch\"]\n",
		"  resourceNames: [\"work\"]\n  verbs: [\"get\", \"patch\"]\n",
		"kind: Role\nmetadata:\n  name: nap-n-installer\n  namespace: work\n",
		"# What roles of the release grant: nobody may grant what they do not hold.\n- apiGroups: [\"\"]\n  resources: [\"secrets\"]\n  verbs: [\"create\"]\n",
		"kind: RoleBinding\n", "- kind: ServiceAccount\n  name: deployer\n  namespace: ci\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no\n%s\nin\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "kind: Namespace") {
		t.Errorf("kubectl delete with this output would delete a namespace:\n%s", out.String())
	}
	var apart strings.Builder
	if err := WriteNamespaces(&apart, set); err != nil {
		t.Fatal(err)
	}
	// The namespace that the release would create is its own.
	for _, want := range []string{"kind: Namespace\nmetadata:\n  name: nap\n", "meta.helm.sh/release-name: \"n\""} {
		if !strings.Contains(apart.String(), want) {
			t.Errorf("no\n%s\nin\n%s", want, apart.String())
		}
	}
}

// What revokes the rights names each role and binding that was granted, and nothing else.
func TestRevocationIsTheRolesAndBindings(t *testing.T) {
	work := object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: work}}`, false)
	set := &requirement.Set{
		Namespace: "nap", Release: "n", Objects: []requirement.Object{work, object(t, role, false)},
	}
	all, err := Needs(set, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := func(write func(io.Writer) error) []string {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, document := range strings.Split(out.String(), "---\n")[1:] {
			o := object(t, document, false)
			names = append(names, o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName())
		}
		slices.Sort(names)
		return names
	}
	subject, err := ParseSubject("user:anna")
	if err != nil {
		t.Fatal(err)
	}
	granted := names(func(w io.Writer) error {
		return Write(w, set, all, Options{Subjects: []rbacv1.Subject{subject}})
	})
	revoked := names(func(w io.Writer) error { return WriteRevocation(w, set, all) })
	if len(granted) < 4 || !slices.Equal(granted, revoked) {
		t.Errorf("granted %v, revoked %v", granted, revoked)
	}
}

func TestParseSubjectRefuses(t *testing.T) {
	for _, text := range []string{"", "alice", "user:", "serviceaccount:x", "robot:x"} {
		if _, err := ParseSubject(text); err == nil || !strings.Contains(err.Error(), "write user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
