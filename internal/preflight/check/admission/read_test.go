package admission

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const (
	violates   = `pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged (container "afs-fuse" must not set securityContext.privileged=true)`
	overQuota  = `pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1`
	overLimit  = `pods "x" is forbidden: maximum memory usage per Container is 100Mi, but limit is 4Gi`
	kyverno    = `admission webhook "validate.kyverno.svc-fail" denied the request: no images from ghcr.io`
	celPolicy  = `deployments.apps "x" is forbidden: ValidatingAdmissionPolicy 'no-latest' with binding 'all' denied request: no latest tags`
	noDryRun   = `admission webhook "x.example.com" does not support dry run`
	noRightMsg = `pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "work"`
)

func namespace(name, labels string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + ", labels: {" + labels + "}}"
}

func work() *requirement.Set {
	return &requirement.Set{
		Namespace: "nap", Workspaces: "work",
		Pods:        []requirement.Pod{{Owner: "workspace", Namespace: "work", Replicas: 1, By: requirement.Runner, Value: "global.workspaces.nodeSelector"}},
		PodSecurity: []requirement.PodSecurity{{Namespace: "work", Level: "privileged", Value: "global.workspaces.namespace"}},
	}
}

func TestPodSecurity(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects []string
		created bool
		in      string
		refuse  string
		words   []string
	}{
		{name: "admitted", objects: []string{namespace("work", "")}},
		{name: "refused", objects: []string{namespace("work", "")}, in: "work", refuse: violates, words: []string{`namespace work enforces the pod security level "restricted", which keeps out the pods of workspace: privileged (container "afs-fuse" must not set securityContext.privileged=true) -> kubectl label --overwrite namespace work pod-security.kubernetes.io/enforce=privileged`}},
		{name: "no right to try, the label tells", objects: []string{namespace("work", "pod-security.kubernetes.io/enforce: baseline")}, in: "work", refuse: noRightMsg, words: []string{`namespace work enforces the pod security level "baseline" -> `}},
		{name: "the release makes it", objects: []string{namespace("default", "")}, created: true, in: "default", refuse: violates},
		{name: "not there yet, and the cluster's default lets it in", objects: []string{namespace("default", "")}},
		{name: "not there yet, and the cluster's default does not", objects: []string{namespace("default", "")}, in: "default", refuse: violates, words: []string{`namespace work does not exist yet, and without a label this cluster enforces "restricted", which keeps out the pods of workspace`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := kubetest.New(t, tc.objects...)
			if tc.refuse != "" {
				api.Refuse(-1, "POST", "/api/v1/namespaces/"+tc.in+"/pods", kubetest.Status(403, metav1.StatusReasonForbidden, tc.refuse))
			}
			set := work()
			set.PodSecurity[0].Created = tc.created
			checktest.Want(t, checktest.Run(t, Checks(), "admission.pod-security", checktest.Subject(t, api, set)), tc.words...)
			for _, change := range api.Changes() {
				if !change.DryRun {
					t.Errorf("it changed something: %+v", change)
				}
			}
		})
	}
}

func TestQuotas(t *testing.T) {
	quota := func(left string) string {
		return "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q, namespace: work}\nstatus: {hard: {pods: \"" + left + "\", count/configmaps: \"0\"}, used: {pods: \"1\"}}"
	}
	for _, tc := range []struct {
		name    string
		objects []string
		refuse  string
		words   []string
	}{
		{name: "no quota", objects: []string{namespace("work", "")}},
		{name: "enough is left", objects: []string{namespace("work", ""), quota("2")}},
		{name: "not all fit", objects: []string{namespace("work", ""), quota("1")}, words: []string{
			"quota q leaves 0 of pods in namespace work, and the install takes 1 -> kubectl --namespace work patch resourcequota q ",
		}},
		{name: "the API server says so", objects: []string{namespace("work", "")}, refuse: overQuota, words: []string{"a quota or limit range of namespace work refuses a pod of workspace: pods \"x\" is forbidden: exceeded quota"}},
		{name: "a limit range", objects: []string{namespace("work", "")}, refuse: overLimit, words: []string{"maximum memory usage per Container is 100Mi"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := kubetest.New(t, tc.objects...)
			if tc.refuse != "" {
				api.Refuse(-1, "POST", "/api/v1/namespaces/work/pods", kubetest.Status(403, metav1.StatusReasonForbidden, tc.refuse))
			}
			checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", checktest.Subject(t, api, work())), tc.words...)
		})
	}
}

// What keeps a pod out before its quota is looked at leaves the quota unknown, and the check says what that was.
func TestQuotaThatNobodyLookedAt(t *testing.T) {
	for refuse, want := range map[string]string{
		violates: "pods of workspace could not be tried: the pod security of namespace work keeps them out before that " +
			"(admission.pod-security)",
		kyverno: "pods of workspace could not be tried: " + kube.Brief(forbidden(kyverno)),
	} {
		api := kubetest.New(t, namespace("work", ""))
		api.Refuse(-1, "POST", "/api/v1/namespaces/work/pods", kubetest.Status(403, metav1.StatusReasonForbidden, refuse))
		_, err := quotas(t.Context(), checktest.Subject(t, api, work()))
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant\n%s", err, want)
		}
	}
}

func forbidden(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden, Message: message}}
}

func TestClassify(t *testing.T) {
	for message, want := range map[string]kind{
		violates: podSecurity, overQuota: quota, overLimit: quota, kyverno: policy, celPolicy: policy, noDryRun: cannotAsk, noRightMsg: noRight,
		`roles "x" is forbidden: user "u" is attempting to grant RBAC permissions not currently held: {...}`: noRight,
		"spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated":                   elsewhere,
	} {
		if got := classify(forbidden(message)); got != want {
			t.Errorf("%s: %d, want %d", message, got, want)
		}
	}
	if classify(nil) != admitted || classify(errors.New("whatever")) != policy {
		t.Error("the ends of the scale are wrong")
	}
}

func missing(namespace string) error {
	return apierrors.NewNotFound(corev1.Resource("namespaces"), namespace)
}

func TestRefusals(t *testing.T) {
	checktest.Want(t, refusals([]trial{{object: "Service nap/nap-cp"}, {object: "Pod x", err: forbidden(violates)}}))
	checktest.Want(t, refusals([]trial{
		{object: "Deployment nap/nap-cp", namespace: "nap", err: forbidden(kyverno)},
		{object: "Deployment nap/nap-cg", namespace: "nap", err: forbidden(celPolicy)},
		{object: "Deployment nap/nap-cg", namespace: "nap", err: forbidden("it is Tuesday")},
		{object: "Role work/x", namespace: "work", err: missing("work")},
		{object: "Role area/x", namespace: "area", err: missing("area")},
		{object: "Role field/x", namespace: "field", err: missing("field")},
		{object: "Role work/y", namespace: "work", err: missing("work")},
		{object: "Pod x", err: forbidden(noRightMsg)},
		{object: "Pod x", err: forbidden(noDryRun)},
	}),
		"the policy validate.kyverno.svc-fail refuses it: no images from ghcr.io",
		"the policy no-latest refuses it: no latest tags",
		"the API server refuses it: it is Tuesday",
		"warning: an admission webhook can't be asked",
		"note: 1 objects were not tried, since namespace area does not exist",
		"note: 1 objects were not tried, since namespace field does not exist",
		"note: 2 objects were not tried, since namespace work does not exist",
		"note: 1 objects were not tried: you may not make them, see rbac.install")
}

// A pod is tried before its ServiceAccount exists. A policy that refuses the default one says nothing of it, but of pods
// that will run as default it does.
func TestRefusalsOfTheDefaultAccount(t *testing.T) {
	const refuses = `admission webhook "validate.kyverno.svc-fail" denied the request: serviceAccountName must not be default`
	api := kubetest.New(t, namespace("nap", ""), namespace("work", ""))
	for _, name := range []string{"nap", "work"} {
		api.Refuse(-1, "POST", "/api/v1/namespaces/"+name+"/pods",
			kubetest.Status(403, metav1.StatusReasonForbidden, refuses))
	}
	set := work()
	set.Pods = append(set.Pods, requirement.Pod{Owner: "Deployment nap-cp", Namespace: "nap", Replicas: 1,
		Spec: corev1.PodSpec{ServiceAccountName: "nap-cp"}})
	checktest.Want(t, checktest.Run(t, Checks(), "admission.policy", checktest.Subject(t, api, set)),
		"the policy validate.kyverno.svc-fail refuses it: serviceAccountName must not be default",
		"note: 1 pods were not tried, that of Deployment nap-cp among them: a policy refuses pods of the ServiceAccount default")
}

func TestPriorities(t *testing.T) {
	set := work()
	set.Pods[0].Spec.PriorityClassName = "important"
	const class = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: important}"
	checktest.Want(t, checktest.Run(t, Checks(), "admission.priority", checktest.Subject(t, kubetest.New(t, class), set)))
	checktest.Want(t, checktest.Run(t, Checks(), "admission.priority", checktest.Subject(t, kubetest.New(t), set)), "PriorityClass important, which workspace names, does not exist")
}
