//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	helmvalues "helm.sh/helm/v3/pkg/cli/values"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
	"github.com/neutree-ai/packaging/internal/preflight/prepare"
)

// What only reads finds nothing on a good cluster, in two seconds, and finds each thing that is really wrong.
func TestPreflightReadsOnly(t *testing.T) {
	env := newEnvironment(t)
	good, took := env.read(t, "")
	for range 2 {
		_, again := env.read(t, "")
		took = min(took, again)
	}
	t.Logf("reading checks, the chart's render included: %s", took)
	if took > 2*time.Second {
		t.Errorf("they took %s, want at most 2 s", took)
	}
	for id, result := range good {
		if result.Status == preflight.Failed || result.Status == preflight.Unproved {
			t.Errorf("a false alarm: %s: %s %s", id, result.Reason, told(result))
		}
	}
	for _, tc := range []struct {
		name    string
		objects string
		prepare func(t *testing.T, env *environment)
		as      string
		values  []string
		want    map[string]string
	}{
		{
			name: "a namespace that forbids privileged pods", objects: namespaceYAML("nap-closed", "pod-security.kubernetes.io/enforce: restricted"),
			values: []string{"global.workspaces.namespace=nap-closed", "global.workspaces.createNamespace=false"},
			want:   map[string]string{"psa.level": `namespace nap-closed enforces the pod security level "restricted"`},
		},
		{
			name: "a node port that somebody has", objects: "{apiVersion: v1, kind: Service, metadata: {name: theirs, namespace: default}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}}",
			want: map[string]string{"exposure.node-port-free": "node port 30080 for nap-cp is taken by Service default/theirs"},
		},
		{
			name: "a quota", objects: namespaceYAML("nap", "") + "\n---\n{apiVersion: v1, kind: ResourceQuota, metadata: {name: small, namespace: nap}, spec: {hard: {pods: \"2\"}}}",
			want: map[string]string{"quota.limits": "quota small leaves 2 of pods"},
		},
		{
			name: "a limit range", objects: namespaceYAML("nap", "") + "\n---\n{apiVersion: v1, kind: LimitRange, metadata: {name: small, namespace: nap}, spec: {limits: [{type: Container, max: {memory: 100Mi}}]}}",
			want: map[string]string{"quota.limits": "maximum memory usage per Container is 100Mi"},
		},
		{
			name: "an admission policy", objects: namespaceYAML("nap", "") + "\n---\n" + policy,
			want: map[string]string{"admission.policy": "the policy nap-no-services refuses it: nobody needs Services"},
		},
		{
			name: "names of somebody else", objects: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: nap-nap-cp-node-reader}}",
			want: map[string]string{"existing.names": "ClusterRole nap-nap-cp-node-reader exists already, made by something else than Helm"},
		},
		{
			name: "definitions of another operator", objects: foreignCRD,
			want: map[string]string{"cnpg.conflict": "already, made by something else than Helm"},
		},
		{
			name: "full nodes", prepare: fillNodes,
			want: map[string]string{"nodes.capacity": "no node has room for"},
		},
		{
			name: "a user without rights", as: "nobody-much",
			want: map[string]string{"rbac.install": "nobody-much may not", "rbac.grant": "nobody-much may not"},
		},
		{
			name:    "a Secret without its keys",
			objects: namespaceYAML("nap", "") + "\n---\n{apiVersion: v1, kind: Secret, metadata: {name: mine, namespace: nap}, stringData: {JWT_SECRET: change-me-change-me-change-me-change-me}}",
			values:  []string{"global.secrets.existingSecret=mine"},
			want:    map[string]string{"secrets.given": "is still the placeholder of an example"},
		},
		{
			name: "values that the cluster can't serve",
			values: []string{
				"global.exposure.type=ingress", "global.host=nap.example.com", "global.exposure.tls.enabled=true", "global.exposure.tls.secretName=tls",
				"global.storage.shared.storageClass=no-such-class", "controlPlane.cp.nodeSelector.pool=none", "controlPlane.cp.priorityClassName=none",
				"global.imagePullSecrets[0]=regcred",
			},
			want: map[string]string{
				"exposure.ingress-class": "the cluster has no IngressClass", "exposure.certificate": "Secret tls", "storage.class": `StorageClass "no-such-class"`,
				"nodes.match": "no label pool=none", "admission.priority": "PriorityClass none", "images.secret": "pull secret regcred does not exist",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for document := range strings.SplitSeq(tc.objects, "\n---\n") {
				env.makeForTest(t, document)
			}
			if tc.prepare != nil {
				tc.prepare(t, env)
			}
			// Admission policies take a moment to be in force.
			eventually(t, 20*time.Second, tc.name+" is found", func(context.Context) (bool, string) {
				results, _ := env.read(t, tc.as, tc.values...)
				for id, words := range tc.want {
					if results[id].Status != preflight.Failed || !strings.Contains(told(results[id]), words) {
						return false, fmt.Sprintf("%s does not say %q but: %s %s %s", id, words, results[id].Status, results[id].Reason, told(results[id]))
					}
				}
				return true, ""
			})
		})
	}
}

const (
	policy = `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: nap-no-services}, spec: {failurePolicy: Fail, matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [services], operations: [CREATE]}]}, validations: [{expression: "request.namespace != 'nap'", message: nobody needs Services}]}}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: nap-no-services}, spec: {policyName: nap-no-services, validationActions: [Deny]}}`
	foreignCRD = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: clusters.postgresql.cnpg.io}, spec: {group: postgresql.cnpg.io, scope: Namespaced, names: {kind: Cluster, plural: clusters, singular: cluster}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`
)

func namespaceYAML(name, labels string) string {
	return "{apiVersion: v1, kind: Namespace, metadata: {name: " + name + ", labels: {" + labels + "}}}"
}

// read makes all checks that only read, as a user or as the administrator.
func (e *environment) read(t *testing.T, as string, values ...string) (map[string]preflight.Result, time.Duration) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = as
	options := preflight.Options{NoPods: true}
	if as != "" {
		options.Only = []string{"rbac"}
	}
	start := time.Now()
	subject, err := prepare.Subject(t.Context(), prepare.Options{
		Config: config, Release: "neutree", Namespace: "nap", Chart: e.chart, Values: helmvalues.Options{Values: values}, Checks: options,
	})
	if err != nil {
		t.Fatal(err)
	}
	checks, err := preflight.Select(catalog.Checks(), options)
	if err != nil {
		t.Fatal(err)
	}
	sink := collected{}
	preflight.Run(t.Context(), subject, checks, sink)
	return sink, time.Since(start).Round(10 * time.Millisecond)
}

// collected keeps results by ID.
type collected map[string]preflight.Result

func (collected) Plan([]preflight.Check)      {}
func (collected) Running([]string)            {}
func (c collected) Result(r preflight.Result) { c[r.ID] = r }
func (collected) End(preflight.Summary)       {}

func told(result preflight.Result) string {
	var causes []string
	for _, finding := range result.Findings {
		causes = append(causes, finding.Cause)
	}
	return strings.Join(causes, "; ")
}

// makeForTest makes one object and removes it in the end.
func (e *environment) makeForTest(t *testing.T, document string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	if len(object.Object) == 0 {
		return
	}
	client := e.clientFor(t, object, object.GetNamespace())
	t.Cleanup(func() {
		if object.GetKind() == "Namespace" {
			e.deleteNamespace(context.Background(), t, object.GetName())
			return
		}
		_ = client.Delete(context.Background(), object.GetName(), metav1.DeleteOptions{})
	})
	if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// fillNodes lets a pod on each node ask for nearly all of its memory.
func fillNodes(t *testing.T, env *environment) {
	t.Helper()
	nodes, err := env.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		most := node.Status.Allocatable.Memory().DeepCopy()
		most.Sub(resource.MustParse("700Mi"))
		now := int64(0)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "fills-" + node.Name}, Spec: corev1.PodSpec{
			NodeName: node.Name, TerminationGracePeriodSeconds: &now,
			Containers: []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.9", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: most}}}},
		}}
		pods := env.client.CoreV1().Pods(metav1.NamespaceDefault)
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = pods.Delete(context.Background(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
	}
}
