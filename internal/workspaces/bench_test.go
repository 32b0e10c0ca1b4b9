package workspaces

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/kube"
)

// stopLimit is how many times as long as its patches alone Stop may take.
const stopLimit = 1.5

// BenchmarkStop compares Stop with its patches alone, as many at once, on an API server that takes 10 ms for each
// request: the quickest of three of both, since other work of the machine only makes them slower.
// BenchmarkManyWorkspaces in test/e2e does so on a real one.
func BenchmarkStop(b *testing.B) {
	const number = 10_000
	deployment := `{"metadata":{"name":"tos-%d"},"spec":{"replicas":1,"filler":"` + strings.Repeat("x", 10_000) + `"}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(10 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		start, end := 0, 0
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/deployments") {
			_, _ = fmt.Sscan(r.URL.Query().Get("continue"), &start)
			end = min(start+kube.PageSize, number)
		}
		next := ""
		if end > 0 && end < number {
			next = fmt.Sprint(end)
		}
		_, _ = fmt.Fprintf(w, `{"metadata":{"continue":%q},"items":[`, next)
		for i := start; i < end; i++ {
			if i > start {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, deployment, i)
		}
		_, _ = io.WriteString(w, "]}")
	}))
	defer server.Close()
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		bare, took := time.Hour, time.Hour
		for range 3 {
			bare = min(bare, barePatches(b, client, number))
			start := time.Now()
			if n, err := Stop(b.Context(), client, "ws"); n != number || err != nil {
				b.Fatalf("stopped %d (%v), want %d", n, err, number)
			}
			took = min(took, time.Since(start))
		}
		ratio := took.Seconds() / bare.Seconds()
		b.ReportMetric(bare.Seconds(), "s/bare")
		b.ReportMetric(took.Seconds(), "s/stop")
		b.ReportMetric(ratio, "stop/bare")
		if ratio > stopLimit {
			b.Errorf("Stop took %s, its patches alone %s: %.2f times as long, want at most %.1f", took, bare, ratio, stopLimit)
		}
	}
}

// barePatches sends nothing but the patches, and returns how long that took.
func barePatches(b *testing.B, client *kube.Client, number int) time.Duration {
	b.Helper()
	start := time.Now()
	kube.Many(b.Context(), client, func(add func(int)) {
		for i := range number {
			add(i)
		}
	}, func(client *kube.Client, i int) {
		if err := client.Merge(b.Context(), kube.Deployments, "ws", fmt.Sprintf("tos-%d", i), scale(0, "1")); err != nil {
			b.Error(err)
		}
	})
	return time.Since(start)
}
