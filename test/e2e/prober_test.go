//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probed is a service that a prober asks, and how often.
type probed struct {
	service string
	port    int32
	path    string
	every   time.Duration
}

// openServices are the services whose rollouts are to lose no request.
var openServices = []probed{
	{service: "nap-cp", port: 3000, path: "/healthz", every: 50 * time.Millisecond},
	{service: "nap-cg", port: 3002, path: "/health", every: 200 * time.Millisecond},
	{service: "nap-skills", port: 3008, path: "/health", every: 200 * time.Millisecond},
}

// longestProbe bounds how long a prober asks, whatever its test does.
const longestProbe = 10 * time.Minute

// answers are what one service gave a prober.
type answers struct {
	asked  int
	failed int
	// gap is the longest time without a good answer.
	gap time.Duration
	// first is the first failure, for a reader of the test's output.
	first string
}

func (a answers) String() string {
	text := fmt.Sprintf("%d of %d failed, longest gap %s", a.failed, a.asked, a.gap.Round(10*time.Millisecond))
	if a.first != "" {
		text += ", first: " + a.first
	}
	return text
}

// expose opens a port on every node for each of the open services, and lets everybody through to them.
func (r *release) expose(t testing.TB) map[string]string {
	t.Helper()
	addresses := map[string]string{}
	for _, p := range openServices {
		addresses[p.service] = r.openPort(t, p.service, p.port) + p.path
	}
	for service, address := range addresses {
		eventually(t, time.Minute, service+" answers at "+address, func(ctx context.Context) (bool, string) {
			err := ask(ctx, address)
			return err == nil, fmt.Sprint(err)
		})
	}
	return addresses
}

// closePort takes back what openPort did.
func (r *release) closePort(t testing.TB, app string) {
	t.Helper()
	if err := r.client.NetworkingV1().NetworkPolicies(r.namespace).Delete(t.Context(), probedName(app), metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := r.client.CoreV1().Services(r.namespace).Delete(t.Context(), probedName(app), metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func probedName(app string) string { return "probed-" + app }

// openPort opens a port on every node that leads to the pods of an app, and lets everybody through to them. It returns
// the origin under which they can be reached from here.
func (r *release) openPort(t testing.TB, app string, port int32) string {
	t.Helper()
	name := probedName(app)
	service, err := r.client.CoreV1().Services(r.namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeNodePort,
			Selector: map[string]string{"app": app},
			Ports:    []corev1.ServicePort{{Port: port, TargetPort: intstr.FromString("http")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.client.NetworkingV1().NetworkPolicies(r.namespace).Create(t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: service.Spec.Selector},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(r.nodeIP, fmt.Sprint(service.Spec.Ports[0].NodePort))
	// The node learns of the port, and of the policy, some time after the API server.
	eventually(t, time.Minute, "connect to "+app+" at "+address, func(ctx context.Context) (bool, string) {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return false, err.Error()
		}
		connection.Close()
		return true, ""
	})
	return "http://" + address
}

// probe asks every address at its pace until the function it returns is called.
func probe(t testing.TB, addresses map[string]string) func() map[string]answers {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), longestProbe)
	t.Cleanup(stop)
	var group sync.WaitGroup
	results := map[string]*answers{}
	for _, p := range openServices {
		result := &answers{}
		results[p.service] = result
		group.Go(func() { result.collect(ctx, addresses[p.service], p.every) })
	}
	return func() map[string]answers {
		stop()
		group.Wait()
		got := map[string]answers{}
		for service, result := range results {
			got[service] = *result
		}
		return got
	}
}

// collect asks once every tick, without waiting for earlier answers, as many users do.
func (a *answers) collect(ctx context.Context, address string, every time.Duration) {
	a.collectBy(ctx, every, func(ctx context.Context) error { return ask(ctx, address) })
}

func (a *answers) collectBy(ctx context.Context, every time.Duration, ask func(context.Context) error) {
	var (
		mu       sync.Mutex
		group    sync.WaitGroup
		lastGood = time.Now()
	)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			group.Wait()
			a.gap = max(a.gap, time.Since(lastGood))
			return
		case <-ticker.C:
		}
		group.Go(func() {
			// It may outlast the prober: the last question is answered too.
			err := ask(context.WithoutCancel(ctx))
			mu.Lock()
			defer mu.Unlock()
			a.asked++
			if err == nil {
				a.gap = max(a.gap, time.Since(lastGood))
				lastGood = time.Now()
				return
			}
			a.failed++
			if a.first == "" {
				a.first = err.Error()
			}
		})
	}
}

// asker opens a connection for every request: one from before a rollout spares the next request nothing, or is closed
// by the pod that goes while the request is on its way.
var asker = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func ask(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := asker.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", answer.StatusCode, strings.TrimSpace(string(body)))
	}
	return nil
}
