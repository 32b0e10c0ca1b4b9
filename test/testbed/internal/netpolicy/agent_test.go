package netpolicy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/knftables"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// kernel is nftables that can be made to refuse, and looked at while the agent runs.
type kernel struct {
	*knftables.Fake
	mu      sync.Mutex
	refuses int
}

func (k *kernel) Run(ctx context.Context, tx *knftables.Transaction) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuses > 0 {
		k.refuses--
		return errors.New("refused")
	}
	return k.Fake.Run(ctx, tx)
}

func (k *kernel) dump() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Dump()
}

func denyAll() *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "deny"}}
}

func runAgent(t *testing.T, k *kernel, client *fake.Clientset) *agent {
	t.Helper()
	a := newAgent(slog.New(slog.DiscardHandler), k, &plan.Cluster{}, "node1")
	if err := a.watch(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	go a.keep(t.Context())
	return a
}

func newKernel() *kernel { return &kernel{Fake: knftables.NewFake(knftables.IPv4Family, table)} }

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestAgentFollowsTheCluster(t *testing.T) {
	client := fake.NewClientset(testPods()[0], testNamespaces()[0])
	k := newKernel()
	runAgent(t, k, client)
	isolated := func() bool { return strings.Contains(k.dump(), "jump ingress-10.0.1.1") }

	eventually(t, "an empty table", func() bool { return strings.Contains(k.dump(), "add map") })
	if isolated() {
		t.Fatal("a pod without policies is isolated")
	}
	policies := client.NetworkingV1().NetworkPolicies("shop")
	if _, err := policies.Create(t.Context(), denyAll(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is isolated", isolated)
	if err := policies.Delete(t.Context(), "deny", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is open again", func() bool { return !isolated() })
}

func TestAgentTriesAgainWhatTheKernelRefuses(t *testing.T) {
	k := newKernel()
	k.refuses = 1
	runAgent(t, k, fake.NewClientset(testPods()[0], testNamespaces()[0], denyAll()))
	eventually(t, "the pod is isolated", func() bool { return strings.Contains(k.dump(), "jump ingress-10.0.1.1") })
}

func TestNewPodIsIsolatedBeforeItRuns(t *testing.T) {
	pod := testPods()[0]
	pod.Status.PodIP = ""
	k := newKernel()
	a := runAgent(t, k, fake.NewClientset(pod, testNamespaces()[0], denyAll()))

	if err := a.learn(t.Context(), "shop", "web", "10.0.1.77"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(k.dump(), "jump ingress-10.0.1.77") {
		t.Errorf("the plugin was answered before the pod was isolated:\n%s", k.dump())
	}
}

func TestNewAddressReplacesTheKnownOne(t *testing.T) {
	k := newKernel()
	a := runAgent(t, k, fake.NewClientset(testPods()[0], testNamespaces()[0], denyAll()))
	if err := a.learn(t.Context(), "shop", "web", "10.0.1.77"); err != nil {
		t.Fatal(err)
	}
	if dump := k.dump(); !strings.Contains(dump, "jump ingress-10.0.1.77") || strings.Contains(dump, "jump ingress-10.0.1.1 ") {
		t.Errorf("the address of the sandbox before is still in use:\n%s", dump)
	}
}

func TestPluginHearsThatAPodIsUnknown(t *testing.T) {
	a := runAgent(t, newKernel(), fake.NewClientset())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no more time"))
	request := httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(`{"namespace":"shop","name":"ghost","address":"10.0.1.5"}`))
	response := httptest.NewRecorder()
	a.serve(response, request)
	if response.Code != 503 || !strings.Contains(response.Body.String(), "no pod shop/ghost: no more time") {
		t.Errorf("got %d %s", response.Code, response.Body)
	}
}

func TestParseCall(t *testing.T) {
	const result = `{"cniVersion":"0.4.0","ips":[{"version":"6","address":"fd00::2/64"},{"version":"4","address":"198.18.65.2/24"}]}`
	for name, test := range map[string]struct {
		args, result string
		want         announcement
		err          string
	}{
		"a pod": {
			args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=1", result: result,
			want: announcement{"shop", "web", "198.18.65.2"},
		},
		"no pod":     {args: "IgnoreUnknown=1", result: result, err: `CNI_ARGS names no pod: "IgnoreUnknown=1"`},
		"no address": {args: "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", result: `{"ips":[]}`, err: `the plugin before gave the pod no IPv4 address: {"ips":[]}`},
		"no result":  {args: "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", err: "read the result of the plugin before: unexpected end of JSON input"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseCall(test.args, []byte(test.result))
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestPluginDoesNothingWhenAPodGoes(t *testing.T) {
	for command, want := range map[string]string{"DEL": "", "CHECK": "", "VERSION": `{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}`} {
		var out bytes.Buffer
		err := Plugin(t.Context(), func(string) string { return command }, strings.NewReader(""), &out)
		if err != nil || out.String() != want {
			t.Errorf("%s: got %q, %v", command, out.String(), err)
		}
	}
	err := Plugin(t.Context(), func(string) string { return "DANCE" }, strings.NewReader(""), &bytes.Buffer{})
	if err == nil || string(PluginError(err)) != `{"cniVersion":"0.4.0","code":999,"msg":"the network plugin has no command \"DANCE\""}` {
		t.Errorf("got %s", PluginError(err))
	}
}
