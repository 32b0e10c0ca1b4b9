//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// restartGap is how long users may wait for a database of one instance that restarts for its new values.
const restartGap = time.Minute

// wantDatabaseChangedFirst upgrades to a setting that restarts PostgreSQL, with another control plane, while a user
// asks for what is in the database.
func (r *release) wantDatabaseChangedFirst(t *testing.T) {
	stop := r.login(t).keepAsking("/api/me")
	defer stop()
	began := time.Now().Add(-time.Second)
	got := r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.2.2",
		"--set", "global.database.cnpg.maxConnections=310", "--set", "controlPlane.cp.podAnnotations.changed=again")
	answered := stop()
	t.Logf("while PostgreSQL was restarted, of one instance: %s; the upgrade took %s", answered, got.took)
	if answered.asked == 0 || answered.gap > restartGap {
		t.Errorf("users waited for the database for longer than %s: %s", restartGap, answered)
	}
	if connections := r.sql(t, "SHOW max_connections"); connections != "310" {
		t.Errorf("max_connections is %s, want 310", connections)
	}
	seconds, err := strconv.ParseInt(r.sql(t, "SELECT extract(epoch FROM pg_postmaster_start_time())::bigint"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	restarted := time.Unix(seconds, 0)
	if restarted.Before(began) {
		t.Errorf("PostgreSQL runs since %s, before the upgrade", restarted)
	}
	pods, err := r.client.CoreV1().Pods(r.namespace).List(t.Context(),
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + r.name})
	if err != nil {
		t.Fatal(err)
	}
	replaced := false
	for _, pod := range pods.Items {
		if pod.Labels["app"] == "nap-cp" && pod.CreationTimestamp.After(began) {
			replaced = true
			if pod.CreationTimestamp.Time.Before(restarted) {
				t.Errorf("pod %s was created at %s, and PostgreSQL restarted at %s", pod.Name, pod.CreationTimestamp, restarted)
			}
			for _, container := range pod.Status.ContainerStatuses {
				if container.RestartCount > 0 {
					t.Errorf("container %s of the new pod %s was restarted %d times", container.Name, pod.Name, container.RestartCount)
				}
			}
		}
	}
	if !replaced {
		t.Errorf("no control plane was replaced")
	}
}

// keepAsking asks for a path ten times a second until the function that it returns is called, which says how that went.
func (s *session) keepAsking(path string) func() answers {
	ctx, cancel := context.WithTimeout(context.Background(), longestProbe)
	var (
		group sync.WaitGroup
		once  sync.Once
		a     answers
	)
	group.Go(func() {
		a.collectBy(ctx, 100*time.Millisecond, func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
			if err != nil {
				return err
			}
			answer, err := s.client.Do(request)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", answer.StatusCode)
			}
			return nil
		})
	})
	return func() answers {
		once.Do(func() {
			cancel()
			group.Wait()
			a.first = strings.TrimSpace(a.first)
		})
		return a
	}
}
