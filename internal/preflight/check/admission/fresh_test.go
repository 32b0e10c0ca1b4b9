package admission

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// fresh is the chart's installation on a cluster that has none of its namespaces.
func fresh(t *testing.T) (*kubetest.Server, *preflight.Subject) {
	t.Helper()
	set := requirementtest.Load(t)
	api := kubetest.New(t, namespace("default", ""))
	for _, object := range slices.Concat(set.Objects, set.Later) {
		api.Know(object.GroupVersionKind())
	}
	return api, checktest.Subject(t, api, set)
}

// What could not be tried is not checked, and no pass: the summary counts it, and the exit code is 1.
func TestNothingPassesInANamespaceThatDoesNotExist(t *testing.T) {
	_, s := fresh(t)
	checks, err := preflight.Select(Checks(), preflight.Options{Only: []string{"admission.quota", "admission.policy"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Options.NoPods = true
	sink := &collect{}
	summary := preflight.Run(t.Context(), s, checks, sink)
	if summary.Unproved != 2 || summary.Passed != 0 || summary.ExitCode(false) != 1 {
		t.Errorf("%+v, exit code %d: want two that could not be checked, and 1", summary, summary.ExitCode(false))
	}
	const reason = "namespace nap does not exist yet: create it first, or leave out --no-pods, so that a temporary one stands for it"
	for _, result := range sink.results {
		if result.Status != preflight.Unproved || !strings.Contains(result.Reason, reason) {
			t.Errorf("%s: %s, %s\nwant that it could not be checked, since %s", result.ID, result.Status, result.Reason, reason)
		}
	}
}

type collect struct{ results []preflight.Result }

func (*collect) Plan([]preflight.Check)      {}
func (*collect) Running([]string)            {}
func (c *collect) Result(r preflight.Result) { c.results = append(c.results, r) }
func (*collect) End(preflight.Summary)       {}

// A temporary namespace with the same labels stands for one that does not exist yet, and goes afterwards.
func TestATemporaryNamespaceStandsForOneThatDoesNotExist(t *testing.T) {
	api, s := fresh(t)
	s.Probes = probe.New(probe.Config{Client: api.Client(), Namespace: "nap"})
	refuse := func(times int, method, kind, message string) {
		api.Refuse(times, method, "/apis/apps/v1/namespaces/neutree-preflight-*/"+kind, kubetest.Status(422, metav1.StatusReasonInvalid, message))
	}
	refuse(1, "PATCH", "deployments/nap-env-runner-k8s", `Deployment.apps "nap-env-runner-k8s" is invalid: `+
		`spec.template.spec.containers[0].resources.requests: Invalid value: "512Mi": must be less than or equal to memory limit of 256Mi`)
	checktest.Want(t, checktest.Run(t, Checks(), "admission.policy", s),
		"the API server refuses it: Deployment.apps \"nap-env-runner-k8s\" is invalid: spec.template.spec.containers[0].resources.requests")
	checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", s))
	for name, labels := range map[string]map[string]string{
		"nap": {}, "nap-workspaces": {"pod-security.kubernetes.io/enforce": "privileged", "app.kubernetes.io/managed-by": "Helm"},
	} {
		at, err := s.TrialNamespace(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		stands, err := kube.Get[corev1.Namespace](t.Context(), api.Client(), kube.Namespaces, "", at)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range labels {
			if stands.Labels[key] != value {
				t.Errorf("the namespace that stands for %s has the labels %v, want %s=%s", name, stands.Labels, key, value)
			}
		}
		if _, labelled := stands.Labels["pod-security.kubernetes.io/enforce"]; labelled != (len(labels) > 0) {
			t.Errorf("the namespace that stands for %s has the labels %v", name, stands.Labels)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	left, err := kube.List[corev1.Namespace](t.Context(), api.Client(), kube.Namespaces, "", metav1.ListOptions{})
	if err != nil || len(left) != 1 {
		t.Errorf("%d namespaces are left, %v", len(left), err)
	}
	for _, change := range api.Changes() {
		// What is not a dry run is the temporary namespaces and the ConfigMap that marks them.
		if !change.DryRun && !strings.HasSuffix(change.Path, "/namespaces") && !strings.Contains(change.Path, "neutree-preflight-") {
			t.Errorf("it changed something: %s %s", change.Method, change.Path)
		}
	}
}

// The API server speaks of the temporary namespace; what is reported names the one that it stands for.
func TestMessagesNameTheNamespaceOfTheRelease(t *testing.T) {
	api := kubetest.New(t, namespace("default", ""))
	set := work()
	s := checktest.Subject(t, api, set)
	s.Probes = probe.New(probe.Config{Client: api.Client(), Namespace: "nap"})
	at, err := s.TrialNamespace(t.Context(), "work")
	if err != nil {
		t.Fatal(err)
	}
	api.Refuse(-1, "POST", "/api/v1/namespaces/neutree-preflight-*/pods", kubetest.Status(403, metav1.StatusReasonForbidden,
		`admission webhook "validate.kyverno.svc-fail" denied the request: no images from ghcr.io in `+at))
	findings := checktest.Run(t, Checks(), "admission.policy", s)
	checktest.Want(t, findings, "the policy validate.kyverno.svc-fail refuses it: no images from ghcr.io in work")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Without the right to create a namespace nothing is tried either, and the reason says so.
func TestNoTemporaryNamespace(t *testing.T) {
	api := kubetest.New(t, namespace("default", "pod-security.kubernetes.io/enforce: baseline"))
	s := checktest.Subject(t, api, work())
	s.Probes = probe.New(probe.Config{Client: api.Client(), Namespace: "nap"})
	api.Refuse(-1, "POST", "/api/v1/namespaces", kubetest.Status(403, metav1.StatusReasonForbidden,
		`namespaces is forbidden: User "u" cannot create resource "namespaces" in API group "" at the cluster scope`))
	for id, run := range map[string]func() error{
		"admission.policy":       func() error { _, err := policies(t.Context(), s); return err },
		"admission.quota":        func() error { _, err := quotas(t.Context(), s); return err },
		"admission.pod-security": func() error { _, err := levels(t.Context(), s); return err },
	} {
		err := run()
		const want = "namespace work does not exist yet, and no temporary one could stand for it"
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "cannot create resource") {
			t.Errorf("%s: %v, want that %s, and why", id, err, want)
		}
	}
	var untried *preflight.Untried
	if _, err := s.TrialNamespace(t.Context(), "work"); !errors.As(err, &untried) || untried.Cause == nil {
		t.Errorf("%v, want the cause", err)
	}
}
