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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	helmvalues "helm.sh/helm/v3/pkg/cli/values"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
	"github.com/neutree-ai/packaging/internal/preflight/load"
)

// What only reads finds nothing on a good cluster.
func TestReadingChecksOnGoodCluster(t *testing.T) {
	env := newEnvironment(t)
	good, took := env.read(t, "")
	t.Logf("reading checks, the chart's render included: %s", took)
	for id, result := range good {
		if result.Status == preflight.Unproved && strings.Contains(result.Reason, "namespace nap does not exist yet") {
			continue
		}
		if result.Status == preflight.Failed || result.Status == preflight.Unproved {
			t.Errorf("a false alarm: %s: %s %s", id, result.Reason, told(result))
		}
	}
}

// What only reads finds each thing that is really wrong.
func TestPreflightReadsOnly(t *testing.T) {
	env := newEnvironment(t)
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
			want:   map[string]string{"admission.pod-security": `namespace nap-closed enforces the pod security level "restricted"`},
		},
		{
			name: "a node port that somebody has", objects: "{apiVersion: v1, kind: Service, metadata: {name: theirs, namespace: default}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}}",
			want: map[string]string{"exposure.node-port-free": "node port 30080 for nap-front is already taken by Service default/theirs"},
		},
		{
			name: "a quota", objects: namespaceYAML("nap", "") + "\n---\n{apiVersion: v1, kind: ResourceQuota, metadata: {name: small, namespace: nap}, spec: {hard: {pods: \"2\"}}}",
			want: map[string]string{"admission.quota": "quota small leaves 2 of pods"},
		},
		{
			name: "a limit range", objects: namespaceYAML("nap", "") + "\n---\n{apiVersion: v1, kind: LimitRange, metadata: {name: small, namespace: nap}, spec: {limits: [{type: Container, max: {memory: 100Mi}}]}}",
			want: map[string]string{"admission.quota": "maximum memory usage per Container is 100Mi"},
		},
		{
			name: "an admission policy", objects: namespaceYAML("nap", "") + "\n---\n" + policy,
			want: map[string]string{"admission.policy": "the policy nap-no-services refuses it: nobody needs Services"},
		},
		{
			name: "names of somebody else", objects: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: nap-nap-cp-node-reader}}",
			want: map[string]string{"existing.names": "ClusterRole nap-nap-cp-node-reader exists already, made by something other than Helm"},
		},
		{
			name: "definitions of another operator", objects: foreignCRD,
			want: map[string]string{"cnpg.conflict": "already, made by something other than Helm"},
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
		{
			name: "a release that is half-way, and whose values would change", objects: namespaceYAML("nap", "") + "\n---\n" + halfWay,
			values: []string{"global.secrets.existingSecret=mine"},
			want: map[string]string{
				"existing.release": "is pending-upgrade", "upgrade.path": `global.namePrefix was "acme"`, "existing.install": "Deployment acme-cp",
				"storage.claims": "claim afs-controller-db in namespace nap has 2Gi and can't shrink to 1Gi", "secrets.unchanged": "JWT_SECRET comes from key JWT_SECRET of Secret old",
			},
		},
		{
			name: "an operator that does not do", objects: namespaceYAML("nap", "") + "\n---\n" + foreignCRD + "\n---\n" + oldOperator,
			values: []string{"cloudnative-pg.enabled=false"},
			want:   map[string]string{"cnpg.operator": "is 1.20.0, and the platform needs", "cnpg.webhook": "the operator's webhook does not answer"},
		},
		{
			name: "nodes of all kinds", objects: nodeYAML("ghost-small", "True") + "\n---\n" + nodeYAML("ghost-away", "False"),
			values: []string{"global.storage.afsController.storageClass=shared-immediate"},
			want:   map[string]string{"nodes.ready": "ghost-away", "nodes.size": "ghost-small", "images.arch": "arm64", "storage.binding": "makes volumes at once, in any of 2 zones"},
		},
		{
			name: "two defaults, and names of its own", objects: `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: another-default, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: example.com/none}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: coredns, namespace: kube-system}, data: {Corefile: ".:53 {\n  kubernetes corp.local\n}"}}`,
			values: []string{
				"global.exposure.type=gateway", "global.host=nap.example.com", "global.exposure.gateway.parentRefs[0].name=nowhere", "global.backup.volumeSnapshotClass=fast",
				"controlPlane.cp.proxy.http=http://proxy.example.com", "global.storage.shared.nodeLocal.enabled=true", "global.storage.shared.nodeLocal.node=nowhere",
			},
			want: map[string]string{
				"storage.default": "2 StorageClasses are marked as the default", "network.domain": "end in corp.local", "k8s.apis": "HTTPRoute", "exposure.gateway": "Gateway nowhere does not exist",
				"storage.snapshot": `VolumeSnapshotClass "fast" does not exist`, "network.proxy": "names no port", "storage.node": "no node has the label kubernetes.io/hostname=nowhere",
			},
		},
		{
			name: "Cilium, and users by the addresses of nodes",
			objects: "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: cilium, namespace: kube-system}, spec: {selector: " +
				"{matchLabels: {app: c}}, template: {metadata: {labels: {app: c}}, spec: {nodeSelector: {no: node}, " +
				"containers: [{name: c, image: none}]}}}}",
			values: []string{"global.networkPolicies.usersFrom[0].ipBlock.cidr=0.0.0.0/0"},
			want:   map[string]string{"network.node-addresses": "Cilium does not match nodes by address"},
		},
		{
			name: "the relay's ports on every node", prepare: takeHostPorts,
			values: []string{"global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://opensandbox.example.com", "global.modules.browser.enabled=true", "browser.turn.host=203.0.113.10"},
			want:   map[string]string{"turn.ports-free": "on every node that Deployment coturn can run on its ports are taken"},
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
					if results[id].Status != preflight.Failed && results[id].Status != preflight.Warned || !strings.Contains(told(results[id]), words) {
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

const (
	halfWay = `{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.neutree.v1, namespace: nap, labels: {owner: helm, name: neutree, version: "1", status: pending-upgrade}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: neutree-installation, namespace: nap}, data: {release: neutree, namePrefix: acme}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: afs-controller-db, namespace: nap}, spec: {storageClassName: local-path, accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: old, namespace: nap}, stringData: {JWT_SECRET: 0123456789abcdef0123456789abcdef}}
---
{apiVersion: v1, kind: Secret, metadata: {name: mine, namespace: nap}, stringData: {JWT_SECRET: fedcba9876543210fedcba9876543210}}
---
` + deploymentHead + `{name: nap-cp, namespace: nap}, spec: {replicas: 0, selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: control-plane, image: none, env: [{name: JWT_SECRET, valueFrom: {secretKeyRef: {name: old, key: JWT_SECRET}}}]}]}}}}
---
` + deploymentHead + `{name: acme-cp, namespace: nap}, spec: {replicas: 0, selector: {matchLabels: {app: b}}, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: c, image: none}]}}}}
---
` + deploymentHead + `{name: acme-cg, namespace: nap}, spec: {replicas: 0, selector: {matchLabels: {app: c}}, template: {metadata: {labels: {app: c}}, spec: {containers: [{name: c, image: none}]}}}}`
	deploymentHead = "{apiVersion: apps/v1, kind: Deployment, metadata: "
	oldOperator    = deploymentHead + `{name: old-operator, namespace: default, labels: {app.kubernetes.io/name: cloudnative-pg}}, spec: {replicas: 0, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: manager, image: "ghcr.io/cloudnative-pg/cloudnative-pg:1.20.0"}]}}}}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: nap-nobody-answers}, webhooks: [{name: nobody.example.com, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {name: nobody, namespace: default}}, rules: [{apiGroups: [postgresql.cnpg.io], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [clusters]}]}]}`
)

// nodeYAML is a node that nobody runs: a small one of another architecture in a zone of its own.
func nodeYAML(name, ready string) string {
	return "{apiVersion: v1, kind: Node, metadata: {name: " + name + ", labels: {kubernetes.io/arch: arm64, kubernetes.io/os: linux, kubernetes.io/hostname: " + name + ", topology.kubernetes.io/zone: b}}," +
		` status: {capacity: {cpu: "1", memory: 1Gi, pods: "10"}, allocatable: {cpu: "1", memory: 1Gi, pods: "10"}, conditions: [{type: Ready, status: "` + ready + `"}], nodeInfo: {architecture: arm64, operatingSystem: linux}}}`
}

// takeHostPorts lets a pod on each node have one of the relay's ports. That it has been given to the node is enough.
func takeHostPorts(t *testing.T, env *environment) {
	t.Helper()
	podOnEachNode(t, env, func(corev1.Node) corev1.Container {
		return corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 3478, HostPort: 3478}}}
	})
}

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
	subject, err := load.Subject(t.Context(), load.Options{
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
		causes = append(causes, strings.TrimSpace(finding.Found+" "+finding.Node))
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
	// One of the same name may still be going.
	eventually(t, 30*time.Second, object.GetKind()+" "+object.GetName()+" is made", func(ctx context.Context) (bool, string) {
		_, err := client.Create(ctx, object, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		return err == nil, "it is there already"
	})
}

// fillNodes lets a pod on each node ask for nearly all of its memory.
func fillNodes(t *testing.T, env *environment) {
	t.Helper()
	podOnEachNode(t, env, func(node corev1.Node) corev1.Container {
		most := node.Status.Allocatable.Memory().DeepCopy()
		most.Sub(resource.MustParse("700Mi"))
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: most}}}
	})
}

func podOnEachNode(t *testing.T, env *environment, container func(corev1.Node) corev1.Container) {
	t.Helper()
	nodes, err := env.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		now := int64(0)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "somebodys-"}, Spec: corev1.PodSpec{
			NodeName: node.Name, TerminationGracePeriodSeconds: &now, Containers: []corev1.Container{container(node)},
		}}
		pod.Spec.Containers[0].Name, pod.Spec.Containers[0].Image = "pause", "registry.k8s.io/pause:3.9"
		pods := env.client.CoreV1().Pods(metav1.NamespaceDefault)
		made, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = pods.Delete(context.Background(), made.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
	}
}
