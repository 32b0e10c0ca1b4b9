package catalog_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// installations are values under which, taken together, every check has something to look at.
var installations = map[string][]string{
	"node ports": {
		"global.host=198.19.255.1", "global.imagePullSecrets[0]=regcred", "controlPlane.cp.priorityClassName=important",
		"global.backup.volumeSnapshotClass=fast",
	},
	"ingress": {
		"global.exposure.type=ingress", "global.host=nap.example.com", "global.exposure.ingress.className=web",
		"global.exposure.tls.enabled=true", "global.exposure.tls.secretName=tls", "cloudnative-pg.enabled=false",
		"global.storage.shared.nodeLocal.enabled=true", "global.storage.shared.nodeLocal.node=node1",
		"global.networkPolicies.usersFrom[0].ipBlock.cidr=198.19.255.0/24",
	},
	"modules": {
		"global.exposure.type=gateway", "global.host=nap.example.com",
		"global.exposure.gateway.parentRefs[0].name=edge",
		"global.database.mode=external", "global.database.external.host=db.example.com",
		"global.database.external.existingSecret=database", "cloudnative-pg.enabled=false",
		"global.modules.ldap.enabled=true", "global.ldap.url=ldaps://127.0.0.1:1", "global.ldap.existingSecret=ldap",
		"global.ldap.bindDN=reader", "global.ldap.searchBase=people", "global.ldap.attributes.username=uid",
		"global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://opensandbox.example.com",
		"global.modules.browser.enabled=true", "browser.turn.host=198.19.255.1",
	},
}

// present is what a cluster holds on which these installations would go well.
const present = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: nap-workspaces, labels: {app.kubernetes.io/managed-by: Helm},
  annotations: {meta.helm.sh/release-name: neutree, meta.helm.sh/release-namespace: nap}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default}, spec: {clusterIP: 10.96.0.1}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: coredns, namespace: kube-system},
  data: {Corefile: ".:53 {\n  kubernetes cluster.local\n}"}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: files,
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}},
  provisioner: example.com/files, allowVolumeExpansion: true,
  volumeBindingMode: WaitForFirstConsumer, reclaimPolicy: Retain}
---
{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: fast}, driver: example.com/files}
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: important}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: web}, spec: {controller: example.com/web}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy,
  metadata: {name: nap-workspaces-egress, namespace: nap-workspaces}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: nap},
  spec: {listeners: [{name: web}]}}
---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: clusters.postgresql.cnpg.io,
  labels: {app.kubernetes.io/managed-by: Helm},
  annotations: {meta.helm.sh/release-name: neutree, meta.helm.sh/release-namespace: nap}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: operator, namespace: cnpg-system,
  labels: {app.kubernetes.io/name: cloudnative-pg}},
  spec: {template: {spec: {containers: [{name: manager, image: "example.com/cloudnative-pg:1.30.0"}]}}},
  status: {availableReplicas: 1}}
---
{apiVersion: v1, kind: Secret, metadata: {name: regcred, namespace: nap}, type: kubernetes.io/dockerconfigjson,
  data: {.dockerconfigjson: eyJhdXRocyI6eyJnaGNyLmlvIjp7fX19}}
---
{apiVersion: v1, kind: Secret, metadata: {name: database, namespace: nap},
  data: {username: bmFw, password: cHc=, user: bmFw}}
---
{apiVersion: v1, kind: Secret, metadata: {name: ldap, namespace: nap}, data: {password: cHc=, bindPassword: cHc=}}`

// elsewhere are checks that do not pass here for a reason that has nothing to do with the API server, so nothing is
// learned from them when a single kind of object can't be read.
var elsewhere = map[string]string{
	"exposure.node-port":   "nothing answers on node ports of a double",
	"turn.reach":           "nothing answers in the relay's place on a double",
	"ldap.bind":            "there is no LDAP server",
	"exposure.certificate": "a certificate that lasts would have to be made",
}

// tolerated are the kinds that a check may pass without, and why its title is true all the same. They hold for an
// answer of 403, never for one of 500.
var tolerated = map[string]map[string]string{
	"namespaces": {
		"*": "a user who may not read a namespace may use it: objects in it are read, and pods are tried, all the same",
	},
	"events": {"*": "they explain a failure, and no check goes by them alone"},
	"pods": {
		"exposure.node-port-range": "clouds hide the API server's own pod; the port is judged by the usual " +
			"range, and made for a moment by exposure.node-port",
	},
	"persistentvolumes": {
		"storage.rwx-locks": "what becomes of a volume afterwards is the topic of storage.deletion",
		"storage.mount":     "what becomes of a volume afterwards is the topic of storage.deletion",
		"storage.expansion": "what becomes of a volume afterwards is the topic of storage.deletion",
	},
	"serviceaccounts": {
		"*": "the probe pods of a user who may not create one run as the namespace's default one, and prove the same",
	},
	"selfsubjectreviews": {"*": "the caller's name is only for messages"},
}

// No check may pass because the API server did not answer its question: an outage, or a lack of rights, is no proof.
func TestNoCheckPassesOnAnError(t *testing.T) {
	sets := map[string]*requirement.Set{}
	for name, values := range installations {
		sets[name] = requirementtest.Load(t, values...)
	}
	applied := map[string]bool{}
	for _, upgrade := range []bool{false, true} {
		for _, check := range catalog.Checks() {
			if !check.Needs.Has(preflight.Cluster) {
				continue
			}
			for name, set := range sets {
				options := preflight.Options{Upgrade: upgrade}
				if check.Applies != nil {
					if applies, _ := check.Applies(&preflight.Subject{Requirements: set, Options: options}); !applies {
						continue
					}
				}
				applied[check.ID] = true
				t.Run(fmt.Sprintf("%s/%s/upgrade=%t", check.ID, strings.ReplaceAll(name, " ", "-"), upgrade),
					func(t *testing.T) {
						t.Parallel()
						trial := &trial{check: check, set: set, options: options, hurry: true}
						for _, code := range []int{http.StatusInternalServerError, http.StatusForbidden} {
							if result, _ := trial.run(t,
								func(string) int { return code }); result.Status == preflight.Passed {
								t.Errorf("every request is answered with %d, and it passes: %+v", code, result.Findings)
							}
						}
						trial.hurry = false
						healthy, asked := trial.run(t, func(string) int { return 0 })
						trial.hurry = true
						if _, excused := elsewhere[check.ID]; excused != (healthy.Status != preflight.Passed) {
							t.Fatalf("where all is well it ends with %s: %s %+v", healthy.Status, healthy.Reason,
								healthy.Findings)
						} else if excused {
							return
						}
						if len(asked) == 0 {
							t.Error("it passes without a question to the API server")
						}
						for _, kind := range asked {
							trial.without(t, kind)
						}
					})
			}
		}
	}
	for _, check := range catalog.Checks() {
		if check.Needs.Has(preflight.Cluster) && !applied[check.ID] {
			t.Errorf("%s applies to none of the installations, so nothing is known of it", check.ID)
		}
	}
}

// trial runs one check against a cluster that refuses something.
type trial struct {
	check   preflight.Check
	set     *requirement.Set
	options preflight.Options
	// hurry bounds what waits for an answer that will not come. Where all is well the answer does come, and a busy
	// machine must not be what fails it.
	hurry bool
}

// without lets the API server refuse one kind of object.
func (r *trial) without(t *testing.T, kind string) {
	t.Helper()
	for _, code := range []int{http.StatusInternalServerError, http.StatusForbidden} {
		result, _ := r.run(t, func(asked string) int {
			if asked == kind {
				return code
			}
			return 0
		})
		if result.Status != preflight.Passed {
			continue
		}
		reasons := tolerated[kind]
		if code == http.StatusForbidden && (reasons["*"] != "" || reasons[r.check.ID] != "") {
			continue
		}
		if kind == "events" || kind == "selfsubjectreviews" {
			continue
		}
		t.Errorf("requests for %s are answered with %d, and it passes: %+v", kind, code, result.Findings)
	}
}

// run runs the check once and returns the kinds that it asked for.
func (r *trial) run(t *testing.T, refuse func(kind string) int) (preflight.Result, []string) {
	t.Helper()
	nodes := probetest.New(t, []string{"node1", "node2"}, present)
	nodes.Answer = goodDatabase
	front := newFront(t, nodes.Server, r.set, refuse)
	view, err := cluster.New(front.config())
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewForConfig(front.config())
	if err != nil {
		t.Fatal(err)
	}
	options, start := r.options, 2*time.Minute
	if r.hurry {
		options.CheckTimeout, start = 20*time.Second, 5*time.Second
	}
	subject := &preflight.Subject{
		Requirements: r.set, Cluster: view, Options: options,
		Probes: probe.New(probe.Config{Client: client, Image: "example.com/nap-hooks:1", Namespace: r.set.Namespace,
			Start: start}),
	}
	sink := &results{}
	preflight.Run(t.Context(), subject, []preflight.Check{r.check}, sink)
	if len(sink.all) != 1 {
		t.Fatalf("%d results", len(sink.all))
	}
	return sink.all[0], front.kinds()
}

// goodDatabase is what a database reports that will do.
func goodDatabase(_ string, task agent.Task) *agent.Result {
	if task.Database == nil {
		return nil
	}
	return &agent.Result{Facts: agent.Facts{
		agent.DatabaseVersion: "160004", agent.DatabaseCreate: "true", agent.DatabasePublic: "true", agent.DatabaseForeign: "0",
		agent.DatabaseTLS: "true", agent.DatabaseConnections: "500", agent.DatabaseUsed: "1", agent.DatabaseRoleLimit: "-1",
	}}
}

type results struct{ all []preflight.Result }

func (*results) Plan([]preflight.Check)      {}
func (*results) Running([]string)            {}
func (r *results) Result(x preflight.Result) { r.all = append(r.all, x) }
func (*results) End(preflight.Summary)       {}

// front stands before an API double: it refuses what a test says, and answers what a double does not know, which is
// what the API server serves and what the caller may do.
type front struct {
	url    string
	next   http.Handler
	refuse func(kind string) int
	served map[schema.GroupVersion][]metav1.APIResource

	mu    sync.Mutex
	asked map[string]bool
}

func newFront(t *testing.T, double *kubetest.Server, set *requirement.Set, refuse func(string) int) *front {
	t.Helper()
	at, err := url.Parse(double.Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{next: httputil.NewSingleHostReverseProxy(at), refuse: refuse, asked: map[string]bool{},
		served: map[schema.GroupVersion][]metav1.APIResource{}}
	clusterWide := []string{"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding",
		"StorageClass", "PriorityClass",
		"CustomResourceDefinition", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
		"IngressClass", "VolumeSnapshotClass"}
	for _, object := range set.Objects {
		gvk := object.GroupVersionKind()
		f.serve(gvk, !slices.Contains(clusterWide, gvk.Kind))
	}
	for _, api := range set.APIs {
		f.serve(api.GroupVersionKind, !slices.Contains(clusterWide, api.Kind))
	}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *front) serve(gvk schema.GroupVersionKind, namespaced bool) {
	plural, singular := kubetest.ResourceOf(gvk)
	one := metav1.APIResource{Name: plural, SingularName: singular, Kind: gvk.Kind, Namespaced: namespaced,
		Verbs: metav1.Verbs{"get", "list", "create", "patch"}}
	if gv := gvk.GroupVersion(); !slices.ContainsFunc(f.served[gv],
		func(r metav1.APIResource) bool { return r.Kind == gvk.Kind }) {
		f.served[gv] = append(f.served[gv], one)
	}
}

func (f *front) config() *rest.Config { return &rest.Config{Host: f.url, QPS: -1} }

// kinds are those that were asked for.
func (f *front) kinds() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.asked))
}

// kindOf is the resource that a path is about; "discovery" for what the API server says of itself.
func kindOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	skip := map[string]int{"api": 2, "apis": 3}[parts[0]]
	if skip == 0 || len(parts) <= skip {
		return "discovery"
	}
	parts = parts[skip:]
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	return parts[0]
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := kindOf(r.URL.Path)
	f.mu.Lock()
	f.asked[kind] = true
	f.mu.Unlock()
	switch code := f.refuse(kind); code {
	case 0:
	case http.StatusForbidden:
		write(w, code, kubetest.Status(403, metav1.StatusReasonForbidden, fmt.Sprintf(
			`%[1]s is forbidden: User "u" cannot list resource "%[1]s" in API group "" in the namespace "nap"`, kind)))
		return
	default:
		write(w, code, kubetest.Status(int32(code), metav1.StatusReasonInternalError, "etcdserver: no leader"))
		return
	}
	if f.knows(w, r) {
		return
	}
	f.next.ServeHTTP(w, r)
}

// knows answers what a double of stored objects can't.
func (f *front) knows(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		var review struct {
			Spec struct {
				ResourceAttributes struct{ Verb string }
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&review)
		// A user who may do everything would be asked about nothing else.
		write(w, http.StatusCreated, map[string]any{"apiVersion": "authorization.k8s.io/v1",
			"kind":   "SelfSubjectAccessReview",
			"status": map[string]any{"allowed": review.Spec.ResourceAttributes.Verb != "*"}})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectrulesreviews"):
		write(w, http.StatusCreated, map[string]any{"apiVersion": "authorization.k8s.io/v1",
			"kind":   "SelfSubjectRulesReview",
			"status": map[string]any{"resourceRules": []any{}, "nonResourceRules": []any{}, "incomplete": false}})
	case r.URL.Path == "/api":
		write(w, http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"},
			Versions: []string{"v1"}})
	case r.URL.Path == "/apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for gv := range f.served {
			if gv.Group != "" {
				version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
				list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group,
					Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version})
			}
		}
		write(w, http.StatusOK, list)
	default:
		gv, err := schema.ParseGroupVersion(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/"), "/api/"))
		resources, served := f.served[gv]
		if err != nil || !served {
			return false
		}
		write(w, http.StatusOK, metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList",
			APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: resources})
	}
	return true
}

func write(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
