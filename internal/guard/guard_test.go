package guard

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	namespaces = `
apiVersion: v1
kind: Namespace
metadata: {name: nap}
---
apiVersion: v1
kind: Namespace
metadata: {name: nap-workspaces, labels: {pod-security.kubernetes.io/enforce: baseline}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
`
	localPath = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local-path, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: rancher.io/local-path
`
	webService = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: other}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
`
	podsPath      = "/api/v1/namespaces/*/pods"
	servicesPath  = "/api/v1/namespaces/*/services"
	aboutPort     = `Service "nap-guard-x7k2p" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is `
	noPods        = `pods is forbidden: User "system:serviceaccount:nap:nap-guard" cannot create resource "pods" in API group "" in the namespace "nap-workspaces"`
	noServiceList = `services is forbidden: User "system:serviceaccount:nap:nap-guard" cannot list resource "services" in API group "" at the cluster scope`
)

var (
	invalid   = func(message string) metav1.Status { return kubetest.Status(422, metav1.StatusReasonInvalid, message) }
	forbidden = func(message string) metav1.Status {
		return kubetest.Status(403, metav1.StatusReasonForbidden, message)
	}
	port = hook.GuardSpec{Namespace: "nap", NodePorts: []hook.NodePortCheck{{Service: "nap-cp", Port: 30080, Value: "global.exposure.nodePorts.web"}}}
	pods = hook.GuardSpec{Namespace: "nap", PodSecurity: []hook.PodSecurityCheck{{Namespace: "nap-workspaces", Level: "privileged", Value: "global.workspaces.namespace"}}}
)

// labelsOnly are the pods of a namespace that the release itself makes.
var labelsOnly = hook.GuardSpec{Namespace: "nap", PodSecurity: []hook.PodSecurityCheck{{
	Namespace: "nap-workspaces", Level: "privileged", Value: "global.workspaces.namespace", LabelsOnly: true}}}

// neverTried answers a pod that is tried in a way that the guard can't take for anything else.
func neverTried(s *kubetest.Server) {
	s.Refuse(-1, "POST", podsPath, kubetest.Status(500, metav1.StatusReasonInternalError, "a pod was tried"))
}

// own is a check of pods that do not run as "default"; noUser is the same on OpenShift.
var own, noUser = restricted(false), restricted(true)

func restricted(noUser bool) hook.GuardSpec {
	return hook.GuardSpec{Namespace: "nap", PodSecurity: []hook.PodSecurityCheck{{
		Namespace: "nap", Level: "restricted", Value: "helm --namespace", Account: "nap-prepare-jobs", NoUser: noUser}}}
}

// onlyAccount refuses pods of every other ServiceAccount.
func onlyAccount(account, message string) func(*kubetest.Server) {
	return judgePods(message, func(pod *unstructured.Unstructured) bool {
		name, _, _ := unstructured.NestedString(pod.Object, "spec", "serviceAccountName")
		return name == account
	})
}

// neverUser refuses pods that name a user, as the SCC restricted-v2 of OpenShift does.
func neverUser(s *kubetest.Server) {
	judgePods(`admission webhook "users" denied the request: runAsUser is not in the range of the namespace`,
		func(pod *unstructured.Unstructured) bool {
			containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
			_, set, _ := unstructured.NestedFieldNoCopy(containers[0].(map[string]any), "securityContext", "runAsUser")
			return !set
		})(s)
}

func judgePods(message string, admits func(*unstructured.Unstructured) bool) func(*kubetest.Server) {
	return func(s *kubetest.Server) {
		s.Judge(func(request kubetest.Request) *metav1.Status {
			if !strings.HasSuffix(request.Path, "/pods") || admits(&unstructured.Unstructured{Object: request.Body}) {
				return nil
			}
			status := forbidden(message)
			return &status
		})
	}
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects string
		refuse  func(*kubetest.Server)
		spec    hook.GuardSpec
		code    hook.Code
		want    string
		wantLog string
	}{
		{
			name: "nothing to prove",
			spec: hook.GuardSpec{Namespace: "nap"},
		},
		{
			name: "class found", objects: localPath,
			spec:    hook.GuardSpec{StorageClasses: []hook.StorageClassCheck{{Purpose: "PostgreSQL", Value: "v", AccessMode: "ReadWriteOnce"}}},
			wantLog: `msg="StorageClass found" purpose=PostgreSQL class=local-path`,
		},
		{
			name: "class missing", objects: localPath,
			spec: hook.GuardSpec{StorageClasses: []hook.StorageClassCheck{{Purpose: "PostgreSQL", Value: "global.x", Name: "fast", AccessMode: "ReadWriteOnce"}}},
			code: hook.Refused,
			want: `StorageClass "fast" for PostgreSQL does not exist: set global.x to one of local-path (rancher.io/local-path) [storage.class]`,
		},
		{
			name: "classes may not be read",
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "GET", "/apis/storage.k8s.io/v1/storageclasses", forbidden(`storageclasses.storage.k8s.io is forbidden: User "g" cannot list resource "storageclasses" in API group "storage.k8s.io" at the cluster scope`))
			},
			spec: hook.GuardSpec{StorageClasses: []hook.StorageClassCheck{{Purpose: "PostgreSQL"}}},
			code: hook.Refused,
			want: `g may not list storageclasses.storage.k8s.io in the whole cluster: grant it, or install with rights that let the chart's Roles grant it [rbac.hook]`,
		},
		{
			name: "classes can't be read for now",
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "GET", "/apis/storage.k8s.io/v1/storageclasses", kubetest.Status(500, metav1.StatusReasonInternalError, "etcdserver: no leader"))
			},
			spec: hook.GuardSpec{StorageClasses: []hook.StorageClassCheck{{Purpose: "PostgreSQL"}}},
			code: hook.Unexpected,
			want: `list the StorageClasses: etcdserver: no leader`,
		},
		{name: "port free", objects: namespaces, spec: port, wantLog: `msg="node port is free" service=nap-cp port=30080`},
		{
			name: "port taken", objects: namespaces + "---\n" + webService, spec: port,
			refuse: func(s *kubetest.Server) { s.Refuse(-1, "POST", servicesPath, invalid(aboutPort+"already allocated")) },
			code:   hook.Refused,
			want:   `node port 30080 for nap-cp is already taken by Service other/web: set global.exposure.nodePorts.web to a port that is free [exposure.node-port-free]`,
		},
		{
			name: "port taken, owner unknown", objects: namespaces + "---\n" + webService, spec: port,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", servicesPath, invalid(aboutPort+"already allocated"))
				s.Refuse(-1, "GET", "/api/v1/services", forbidden(noServiceList))
			},
			code: hook.Refused,
			want: `node port 30080 for nap-cp is already taken: set global.exposure.nodePorts.web to a port that is free [exposure.node-port-free]`,
		},
		{
			name:    "port is ours",
			objects: namespaces + "---\n" + strings.NewReplacer("web", "nap-cp", "other", "nap").Replace(webService), spec: port,
			refuse:  func(s *kubetest.Server) { s.Refuse(-1, "POST", servicesPath, invalid(aboutPort+"already allocated")) },
			wantLog: `msg="node port is already ours"`,
		},
		{
			name: "port outside the range", objects: namespaces, spec: port,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", servicesPath, invalid(aboutPort+"not in the valid range. The range of valid ports is 31000-32767"))
			},
			code: hook.Refused,
			want: `node port 30080 for nap-cp is outside 31000-32767, which this cluster allows: set global.exposure.nodePorts.web to a port inside [exposure.node-port-range]`,
		},
		{
			name: "port outside the usual range", objects: namespaces,
			spec:    hook.GuardSpec{Namespace: "nap", NodePorts: []hook.NodePortCheck{{Service: "nap-cp", Port: 8080, Value: "v"}}},
			wantLog: `level=WARN msg="the node port is outside the range that Kubernetes allows by default" service=nap-cp port=8080 range=30000-32767`,
		},
		{
			name: "Services with node ports are forbidden", objects: namespaces, spec: port,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", servicesPath, forbidden(`admission webhook "policy" denied the request: no NodePorts here`))
			},
			code: hook.Refused,
			want: `a Service with node port 30080 for nap-cp (global.exposure.nodePorts.web) is refused: admission webhook "policy" denied the request: no NodePorts here [admission.policy]`,
		},
		{
			name: "a webhook that takes no dry runs of Services", objects: namespaces, spec: port,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", servicesPath, kubetest.Status(400, metav1.StatusReasonBadRequest,
					`admission webhook "audit" does not support dry run`))
			},
			wantLog: `msg="node port not checked: it can't be tried" port=30080 cause="admission webhook`,
		},
		{name: "no namespace for the port yet", spec: port, wantLog: `msg="node port not checked: the namespace does not exist yet"`},
		{name: "pods admitted", objects: namespaces, spec: pods, wantLog: `msg="namespace admits the pods" namespace=nap-workspaces level=privileged`},
		{
			name: "pods forbidden by level", objects: namespaces, spec: pods,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", podsPath, forbidden(`pods "nap-guard-x7k2p" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes (volume "fuse"), privileged (container "probe" must not set securityContext.privileged=true)`))
			},
			code: hook.Refused,
			want: "namespace nap-workspaces enforces the pod security level \"baseline\", and its pods need \"privileged\": run `kubectl label --overwrite namespace nap-workspaces pod-security.kubernetes.io/enforce=privileged`, or choose another namespace (global.workspaces.namespace) [admission.pod-security]",
		},
		{
			name: "pods can't be tried, labels forbid them", objects: namespaces, spec: pods,
			refuse: func(s *kubetest.Server) { s.Refuse(-1, "POST", podsPath, forbidden(noPods)) },
			code:   hook.Refused,
			want: "namespace nap-workspaces enforces the pod security level \"baseline\", and its pods need " +
				"\"privileged\": run `kubectl label --overwrite namespace nap-workspaces " +
				"pod-security.kubernetes.io/enforce=privileged`, or choose another namespace (global.workspaces.namespace) " +
				"[admission.pod-security]",
		},
		{
			name: "pods can't be tried, labels admit them", objects: strings.Replace(namespaces, "enforce: baseline", "enforce: privileged", 1), spec: pods,
			refuse:  func(s *kubetest.Server) { s.Refuse(-1, "POST", podsPath, forbidden(noPods)) },
			wantLog: `msg="the namespace's labels do not forbid the pods"`,
		},
		{
			name: "pods can't be tried, namespace not there yet", spec: pods,
			refuse:  func(s *kubetest.Server) { s.Refuse(-1, "POST", podsPath, forbidden(noPods)) },
			wantLog: `msg="pod security not checked: the namespace does not exist yet"`,
		},
		{
			name: "pods must not be tried, namespace not there yet", spec: labelsOnly,
			refuse:  neverTried,
			wantLog: `msg="pod security not checked: the namespace does not exist yet"`,
		},
		{
			name: "pods must not be tried, labels forbid them", objects: namespaces, spec: labelsOnly,
			refuse: neverTried,
			code:   hook.Refused,
			want: "namespace nap-workspaces enforces the pod security level \"baseline\", and its pods need " +
				"\"privileged\": run `kubectl label --overwrite namespace nap-workspaces " +
				"pod-security.kubernetes.io/enforce=privileged`, or choose another namespace (global.workspaces.namespace) " +
				"[admission.pod-security]",
		},
		{
			name: "pods refused by a quota", objects: namespaces, spec: pods,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", podsPath, forbidden(`pods "nap-guard-x7k2p" is forbidden: failed quota: q: must specify limits.cpu for: probe`))
			},
			code: hook.Refused,
			want: `a quota in namespace nap-workspaces refuses the platform's pods (pods "nap-guard-x7k2p" is forbidden: failed quota: q: must specify limits.cpu for: probe): raise it, or add a LimitRange with default requests and limits for containers that state none [admission.quota]`,
		},
		{
			name: "pods refused by a policy", objects: namespaces, spec: pods,
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "POST", podsPath, forbidden(`admission webhook "validate.kyverno.svc-fail" denied the request: privileged mode is disallowed`))
			},
			code: hook.Refused,
			want: `an admission policy of the cluster refuses pods of the level "privileged" in namespace nap-workspaces (global.workspaces.namespace): admission webhook "validate.kyverno.svc-fail" denied the request: privileged mode is disallowed: make an exception for the namespace there, since the platform can't do with less [admission.policy]`,
		},
		{
			name: "a policy refuses the ServiceAccount default", objects: namespaces, spec: own,
			refuse:  onlyAccount("nap-prepare-jobs", `admission webhook "kyverno" denied the request: not as default`),
			wantLog: `msg="namespace admits the pods" namespace=nap level=restricted`,
		},
		{
			name: "an SCC is granted to other ServiceAccounts", objects: namespaces, spec: own,
			refuse: onlyAccount("coturn", `pods "nap-guard-x7k2p" is forbidden: `+
				`unable to validate against any security context constraint: []`),
			wantLog: `msg="the namespace's labels do not forbid the pods" namespace=nap`,
		},
		{
			name: "no SCC for workspaces", objects: namespaces, spec: pods,
			refuse: onlyAccount("coturn", `pods "nap-guard-x7k2p" is forbidden: `+
				`unable to validate against any security context constraint: []`),
			code: hook.Refused,
			want: `an admission policy of the cluster refuses pods of the level "privileged" in namespace nap-workspaces ` +
				`(global.workspaces.namespace): pods "nap-guard-x7k2p" is forbidden: unable to validate against any security ` +
				`context constraint: []: make an exception for the namespace there, since the platform can't do with less ` +
				`[admission.policy]`,
		},
		{
			name: "OpenShift chooses the user", objects: namespaces, spec: noUser,
			refuse:  neverUser,
			wantLog: `msg="namespace admits the pods" namespace=nap level=restricted`,
		},
		{
			name: "a level that does not exist",
			spec: hook.GuardSpec{PodSecurity: []hook.PodSecurityCheck{{Namespace: "nap", Level: "strict"}}},
			code: hook.Usage,
			want: `spec: podSecurity: level "strict" of namespace nap is none of restricted, baseline, privileged`,
		},
		{
			name:    "Kubernetes is old",
			spec:    hook.GuardSpec{Kubernetes: hook.KubernetesCheck{Tested: "1.35"}},
			wantLog: `level=WARN msg="Kubernetes is older than the oldest version that all parts are tested on: it may work, but upgrade it soon" version=v1.34.4 tested=1.35`,
		},
		{
			name: "all problems at once", objects: namespaces,
			spec: hook.GuardSpec{Namespace: "nap",
				StorageClasses: []hook.StorageClassCheck{{Purpose: "PostgreSQL", Value: "global.x"}},
				NodePorts:      port.NodePorts},
			refuse: func(s *kubetest.Server) { s.Refuse(-1, "POST", servicesPath, invalid(aboutPort+"already allocated")) },
			code:   hook.Refused,
			want:   `2 things must be changed first: (1) PostgreSQL needs a StorageClass and the cluster has none: install a storage provisioner, then set global.x or mark its class as the default [storage.class]; (2) node port 30080 for nap-cp is already taken: set global.exposure.nodePorts.web to a port that is free [exposure.node-port-free]`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := kubetest.New(t, tc.objects)
			if tc.refuse != nil {
				tc.refuse(server)
			}
			var log bytes.Buffer
			err := Run(context.Background(), slog.New(slog.NewTextHandler(&log, nil)), server.Client(), tc.spec)
			if code := hook.CodeOf(err); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != tc.want {
				t.Errorf("message\n%s\nwant\n%s", message, tc.want)
			}
			if !strings.Contains(log.String(), tc.wantLog) {
				t.Errorf("log\n%s\nlacks\n%s", log.String(), tc.wantLog)
			}
			for _, change := range server.Changes() {
				if !change.DryRun {
					t.Errorf("guard changed the cluster: %s %s", change.Method, change.Path)
				}
			}
		})
	}
}

func TestKubernetesNewEnough(t *testing.T) {
	server := kubetest.New(t)
	server.SetVersion("v1.30.0-gke.100")
	var log bytes.Buffer
	err := Run(context.Background(), slog.New(slog.NewTextHandler(&log, nil)), server.Client(), hook.GuardSpec{Kubernetes: hook.KubernetesCheck{Tested: "1.30"}})
	if err != nil || log.Len() > 0 {
		t.Errorf("error %v, log %s", err, log.String())
	}
}
