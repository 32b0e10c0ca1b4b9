package cnpg

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func TestConflicts(t *testing.T) {
	const (
		crd   = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: clusters.postgresql.cnpg.io, labels: {app.kubernetes.io/managed-by: Helm}, annotations: {meta.helm.sh/release-name: old, meta.helm.sh/release-namespace: nap}}"
		hooks = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: cnpg-validating-webhook-configuration}"
	)
	for _, tc := range []struct {
		name     string
		operator requirement.Operator
		objects  []string
		words    []string
	}{
		{name: "all of it comes with the release", operator: requirement.Operator{Bundled: true, CRDs: true}},
		{name: "definitions of another release", operator: requirement.Operator{Bundled: true, CRDs: true}, objects: []string{crd}, words: []string{"already, made by release old in namespace nap -> leave them as they are: --set cloudnative-pg.crds.create=false"}},
		{name: "definitions left as they are", operator: requirement.Operator{Bundled: true}, objects: []string{crd}},
		{name: "an operator is there", operator: requirement.Operator{Bundled: true}, objects: []string{crd, hooks}, words: []string{"a CloudNativePG operator is in the cluster already, made by something other than Helm -> use the one that is there: --set cloudnative-pg.enabled=false"}},
		{name: "no definitions at all", operator: requirement.Operator{Bundled: true}, words: []string{"cloudnative-pg.crds.create is false, but the cluster has no"}},
		{name: "no operator to use", words: []string{"cloudnative-pg.enabled is false, but the cluster has no CloudNativePG operator"}},
		{name: "an operator to use", objects: []string{crd, hooks}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := &requirement.Set{Release: "neutree", Namespace: "nap", Operator: tc.operator}
			checktest.Want(t, checktest.Run(t, Checks(), "cnpg.conflict", checktest.Subject(t, kubetest.New(t, tc.objects...), set)), tc.words...)
		})
	}
}

func TestOperators(t *testing.T) {
	operator := func(image, watch string, available int32) appsv1.Deployment {
		d := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "cnpg-system", Name: "cnpg"}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Image: image, Env: []corev1.EnvVar{{Name: "WATCH_NAMESPACE", Value: watch}}}}
		d.Status.AvailableReplicas = available
		return d
	}
	good := operator("ghcr.io/cloudnative-pg/cloudnative-pg:1.28.1", "", 1)
	const note = "note: the database in namespace nap depends on CloudNativePG operator"
	checktest.Want(t, operators([]appsv1.Deployment{good}, "nap"),
		note+" 1.28.1, which is not part of this release: Deployment cnpg-system/cnpg, applied by something other than Helm")
	checktest.Want(t, operators(nil, "nap"), "warning: no Deployment in the cluster is labelled")
	checktest.Want(t, operators([]appsv1.Deployment{operator("x/y:1.20.0@sha256:0", "", 1)}, "nap"), note,
		"the CloudNativePG operator is 1.20.0, and the platform needs 1.25.0")
	checktest.Want(t, operators([]appsv1.Deployment{operator("x/y:1.99.0", "", 1)}, "nap"), note,
		"note: the CloudNativePG operator is 1.99.0, newer than")
	checktest.Want(t, operators([]appsv1.Deployment{operator("x/y:1.28.1", "a,b", 1)}, "nap"),
		"no CloudNativePG operator looks after namespace nap, only after others: Deployment cnpg-system/cnpg")
	checktest.Want(t, operators([]appsv1.Deployment{operator("x/y:1.28.1", "a,nap", 0)}, "nap"), note,
		"the CloudNativePG operator is not available")
	checktest.Want(t, operators([]appsv1.Deployment{good, good}, "nap"), note, note,
		"2 CloudNativePG operators look after namespace nap")
	// The one that another release of this chart has brought for its own namespace.
	narrow := operator("x/y:1.30.0", "first", 1)
	narrow.Annotations = map[string]string{"meta.helm.sh/release-name": "neutree",
		"meta.helm.sh/release-namespace": "first"}
	checktest.Want(t, operators([]appsv1.Deployment{narrow}, "nap"),
		"of release neutree in namespace first -> let it look after all namespaces: upgrade the release of this chart "+
			"that contains it with "+
			"--set cloudnative-pg.config.clusterWide=true")
}

func TestOperatorGoesBack(t *testing.T) {
	running := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "nap", Name: "operator", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
		Annotations: map[string]string{"meta.helm.sh/release-name": "neutree", "meta.helm.sh/release-namespace": "nap"}}}
	running.Spec.Template.Spec.Containers = []corev1.Container{{Image: "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0"}}
	set := &requirement.Set{Release: "neutree", Namespace: "nap", Operator: requirement.Operator{Bundled: true, Image: "x/y:1.30.0"}}
	subject := &preflight.Subject{Requirements: set}
	if ok, _ := found(subject); ok {
		t.Error("it applies to an install with its own operator")
	}
	subject.Options.Upgrade = true
	for _, applies := range []func(*preflight.Subject) (bool, string){found, settled} {
		if ok, _ := applies(subject); !ok {
			t.Error("it does not apply to an upgrade")
		}
	}
	set.Operator.CRDs = true
	if ok, why := settled(subject); ok || why == "" {
		t.Errorf("definitions that are still to come: applies %v, %s", ok, why)
	}
	checktest.Want(t, backwards([]appsv1.Deployment{running}, set))
	set.Operator.Image = "x/y:1.29.1"
	checktest.Want(t, backwards([]appsv1.Deployment{running}, set), "the CloudNativePG operator would go back from 1.30.0 to 1.29.1, and its definitions with it -> take a chart with operator 1.30.0 or newer")
	running.Annotations["meta.helm.sh/release-name"] = "other"
	checktest.Want(t, backwards([]appsv1.Deployment{running}, set))
}

func TestWebhook(t *testing.T) {
	cluster := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": map[string]any{"name": "nap-pg", "namespace": "nap"},
	}}
	set := &requirement.Set{Objects: []requirement.Object{{Unstructured: cluster, By: requirement.Bootstrap}}}
	const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}"
	for _, tc := range []struct {
		name, message string
		code          int32
		reason        metav1.StatusReason
		words         []string
	}{
		{name: "admitted"},
		{name: "refused", code: 422, reason: metav1.StatusReasonInvalid, message: `admission webhook "vcluster.cnpg.io" denied the request: storage too small`, words: []string{"the operator refuses the database: admission webhook"}},
		{name: "down", code: 500, reason: metav1.StatusReasonInternalError, message: `failed calling webhook "mcluster.cnpg.io": no endpoints available`, words: []string{"the operator's webhook does not answer"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := kubetest.New(t, namespace)
			if tc.code != 0 {
				api.Refuse(-1, "PATCH", "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg", kubetest.Status(tc.code, tc.reason, tc.message))
			}
			checktest.Want(t, checktest.Run(t, Checks(), "cnpg.webhook", checktest.Subject(t, api, set)), tc.words...)
			if api.Object("/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg") != nil {
				t.Error("it made the database")
			}
		})
	}
}

// A webhook of a third party that takes no dry runs says nothing about the database: the check could not be made.
func TestWebhookWithoutDryRuns(t *testing.T) {
	cluster := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": map[string]any{"name": "nap-pg", "namespace": "nap"},
	}}
	set := &requirement.Set{Objects: []requirement.Object{{Unstructured: cluster, By: requirement.Bootstrap}}}
	api := kubetest.New(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}")
	api.Refuse(-1, "PATCH", "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg",
		kubetest.Status(400, metav1.StatusReasonBadRequest, `admission webhook "audit.example.com" does not support dry run`))
	findings, err := webhook(t.Context(), checktest.Subject(t, api, set))
	const want = `try Cluster nap/nap-pg: admission webhook "audit.example.com" does not support dry run`
	if err == nil || err.Error() != want || len(findings) > 0 {
		t.Errorf("%v, %v\nwant\n%s", findings, err, want)
	}
}

// Where the namespace does not exist yet the database is tried in one that stands for it, or the check says that it was
// not.
func TestWebhookWithoutANamespace(t *testing.T) {
	cluster := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": map[string]any{"name": "nap-pg", "namespace": "nap"},
	}}
	set := &requirement.Set{Objects: []requirement.Object{{Unstructured: cluster, By: requirement.Bootstrap}}}
	api := kubetest.New(t)
	_, err := webhook(t.Context(), checktest.Subject(t, api, set))
	if want := "try Cluster nap/nap-pg: namespace nap does not exist yet: create it first, or leave out --no-pods"; err == nil ||
		!strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	s := checktest.Subject(t, api, set)
	s.Probes = probe.New(probe.Config{Client: api.Client(), Namespace: "nap"})
	api.Refuse(1, "PATCH", "/apis/postgresql.cnpg.io/v1/namespaces/neutree-preflight-*/clusters/nap-pg",
		kubetest.Status(422, metav1.StatusReasonInvalid, `admission webhook "vcluster.cnpg.io" denied the request: too small`))
	checktest.Want(t, checktest.Run(t, Checks(), "cnpg.webhook", s), "the operator refuses the database: admission webhook")
	checktest.Want(t, checktest.Run(t, Checks(), "cnpg.webhook", s))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOtherDatabases(t *testing.T) {
	const (
		ours = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: neutree-cloudnative-pg, namespace: nap, labels: " +
			"{app.kubernetes.io/name: cloudnative-pg}}\n" +
			"spec: {template: {metadata: {labels: {app.kubernetes.io/instance: neutree}}, spec: {containers: [{name: " +
			"manager, image: \"x/y:1.30.0\"}]}}}"
		theirs = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: orders, namespace: shop}"
	)
	set := &requirement.Set{Release: "neutree", Namespace: "nap"}
	if applies, why := judged(&preflight.Subject{Requirements: set}); applies || why == "" {
		t.Errorf("without an operator: applies %v, %s", applies, why)
	}
	set.Prepare.Operator = &hook.OperatorSpec{Release: "neutree", Namespace: "nap", Cluster: "nap-pg", RunsIn: "nap",
		Bundled: true, Watches: "nap", Image: "x/y:1.30.0"}
	run := func(objects ...string) []preflight.Finding {
		return checktest.Run(t, Checks(), "cnpg.other-databases", checktest.Subject(t, kubetest.New(t, objects...), set))
	}
	checktest.Want(t, run(ours))
	checktest.Want(t, run(ours, theirs), "would no longer look after other databases: Cluster shop/orders -> set "+
		"cloudnative-pg.config.clusterWide=true")
	checktest.Want(t, run(theirs), "the cluster already has databases of others: Cluster shop/orders -> use the "+
		"operator that serves them")
	// A version that goes back is the topic of cnpg.operator.
	set.Prepare.Operator.Image = "x/y:1.29.0"
	checktest.Want(t, run(ours))
}

func TestScheduling(t *testing.T) {
	set := &requirement.Set{Release: "neutree", Namespace: "nap"}
	run := func(all, own map[string]any) []preflight.Finding {
		set.Values = map[string]any{"global": map[string]any{"scheduling": all}, "cloudnative-pg": own}
		return checktest.Run(t, Checks(), "cnpg.scheduling", &preflight.Subject{Requirements: set})
	}
	pool, tolerated := map[string]any{"pool": "nap"}, []any{map[string]any{"key": "nap"}}
	checktest.Want(t, run(map[string]any{"nodeSelector": map[string]any{}, "tolerations": []any{},
		"priorityClassName": ""}, nil))
	checktest.Want(t, run(map[string]any{"nodeSelector": pool, "tolerations": tolerated},
		map[string]any{"nodeSelector": pool}),
		"global.scheduling.tolerations is set and cloudnative-pg.tolerations is not -> set cloudnative-pg.tolerations")
	// That the image is for Linux is the chart's own default.
	checktest.Want(t, run(map[string]any{"nodeSelector": pool},
		map[string]any{"nodeSelector": map[string]any{"kubernetes.io/os": "linux"}}),
		"global.scheduling.nodeSelector is set and cloudnative-pg.nodeSelector is not -> set cloudnative-pg.nodeSelector")
}

// An operator of another namespace than the one that the NetworkPolicy names does not reach the database.
func TestOperatorThatThePolicyKeepsOut(t *testing.T) {
	operator := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "cnpg-system", Name: "cnpg"}}
	set := func(peer map[string]any) *requirement.Set {
		peer["podSelector"] = map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": "cloudnative-pg"}}
		policy := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": "nap-pg",
				"namespace": "nap"},
			"spec": map[string]any{"ingress": []any{map[string]any{"from": []any{peer}}}},
		}}
		return &requirement.Set{Namespace: "nap", Objects: []requirement.Object{{Unstructured: policy}}}
	}
	in := func(namespace string) map[string]any {
		return map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": namespace}}}
	}
	list := []appsv1.Deployment{operator}
	checktest.Want(t, keptOut(list, &requirement.Set{Namespace: "nap"}))
	checktest.Want(t, keptOut(list, set(map[string]any{"namespaceSelector": map[string]any{}})))
	checktest.Want(t, keptOut(list, set(in("cnpg-system"))))
	for _, peer := range []map[string]any{in("elsewhere"), {}} {
		checktest.Want(t, keptOut(list, set(peer)),
			"NetworkPolicy keeps the CloudNativePG operator in namespace cnpg-system from the database -> set "+
				"global.database.cnpg.operatorNamespace=cnpg-system")
	}
}
