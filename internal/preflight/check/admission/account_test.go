package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// platform is a set with one Deployment of the release and workspaces.
func platform() *requirement.Set {
	set := work()
	relay := requirement.Pod{Owner: "Deployment nap/coturn", Namespace: "nap", Replicas: 1, By: requirement.Helm}
	relay.Spec.ServiceAccountName = "coturn"
	set.Pods = append(set.Pods, relay)
	return set
}

// A pod is tried with its own ServiceAccount, or with that of the probes while its own does not exist. Workspaces are
// tried with "default", which they run as.
func TestPodsAreTriedWithAServiceAccount(t *testing.T) {
	const (
		noDefault = `admission webhook "kyverno" denied the request: not with ServiceAccount default`
		noSCC     = `pods "x" is forbidden: unable to validate against any security context constraint: []`
		images    = `admission webhook "kyverno" denied the request: no images from ghcr.io`
	)
	const session = "neutree-preflight-"
	for _, tc := range []struct {
		name     string
		existing []string
		noPods   bool
		// refuses is what the API server says to a pod of the release with an account; "" admits it.
		refuses func(account string) string
		tried   []string
		words   []string
	}{
		{name: "its own", existing: []string{"coturn"}, tried: []string{"coturn"}, refuses: func(account string) string {
			return map[bool]string{false: noSCC}[account == "coturn"]
		}},
		{name: "its own is refused", existing: []string{"coturn"}, tried: []string{"coturn"},
			refuses: func(string) string { return noSCC },
			words:   []string{"the API server refuses it: pods \"x\" is forbidden: unable to validate"}},
		{name: "a policy against default", tried: []string{"coturn", session}, refuses: func(account string) string {
			return map[bool]string{true: noDefault}[account == "default"]
		}},
		{name: "an SCC of its own", tried: []string{"coturn", session}, refuses: func(string) string { return noSCC },
			words: []string{"warning: pods of Deployment nap/coturn could not be judged: " +
				"ServiceAccount coturn does not exist yet"}},
		{name: "a policy against its image", tried: []string{"coturn", session},
			refuses: func(string) string { return images },
			words:   []string{"the policy kyverno refuses it: no images from ghcr.io"}},
		{name: "no probes", noPods: true, tried: []string{"coturn", "default"},
			refuses: func(string) string { return noDefault },
			words:   []string{"the API server refuses a pod with ServiceAccount default: " + noDefault}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := kubetest.New(t, namespace("nap", ""), namespace("work", ""))
			var mu sync.Mutex
			var tried []string
			api.Judge(func(request kubetest.Request) *metav1.Status {
				if !strings.HasSuffix(request.Path, "/pods") {
					return nil
				}
				account, _, _ := unstructured.NestedString(request.Body, "spec", "serviceAccountName")
				if strings.Contains(request.Path, "/work/") {
					if account != "" {
						t.Errorf("a workspace is tried with ServiceAccount %s and runs as default", account)
					}
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				account = cmp.Or(account, "default")
				tried = append(tried, account)
				message := tc.refuses(account)
				if account != "default" && !strings.HasPrefix(account, session) && !slices.Contains(tc.existing, account) {
					message = fmt.Sprintf(`pods "x" is forbidden: error looking up service account nap/%s: not found`, account)
				}
				if message == "" {
					return nil
				}
				status := kubetest.Status(403, metav1.StatusReasonForbidden, message)
				return &status
			})
			s := checktest.Subject(t, api, platform())
			if tc.noPods {
				s.Options = preflight.Options{NoPods: true}
			} else {
				s.Probes = probe.New(probe.Config{Client: api.Client(), Namespace: "nap"})
			}
			checktest.Want(t, checktest.Run(t, Checks(), "admission.policy", s), tc.words...)
			if !slices.EqualFunc(tried, tc.tried, strings.HasPrefix) {
				t.Errorf("tried as %v, want %v", tried, tc.tried)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
