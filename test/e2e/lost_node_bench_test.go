//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// How soon a login is to work again when a node of three is lost, and when everything that has to move was on that node: the
// next operator has to be elected before it promotes a database, and the control plane starts after that.
const (
	lostNodeLimit = 90 * time.Second
	lostAllLimit  = 2 * time.Minute
)

// BenchmarkLostNode takes the power from one node of three with values-ha.yaml, each time one on which something else
// runs, and measures how long no login works. Every row that PostgreSQL acknowledged meanwhile must be there.
func BenchmarkLostNode(b *testing.B) {
	env := newEnvironment(b)
	r := env.release(env.helm4, "neutree", "nap")
	f := &faults{release: r, testbed: variable(b, "TESTBED")}
	b.Cleanup(func() { r.purge(b) })
	for b.Loop() {
		r.mustUpgrade(b, "--wait", "--values", r.chart+"/values-ha.yaml", "--set", "global.storage.shared.storageClass=shared",
			"--set", "global.storage.afsController.storageClass=shared")
		h := &highlyAvailable{faults: f, database: r.openDatabase(b)}
		h.whole(b)
		h.write(b, "CREATE SCHEMA test; CREATE TABLE test.acknowledged (n bigint PRIMARY KEY)")
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "on the node that is lost\ta login works again after\trows acknowledged\tlost")
		for _, c := range []struct {
			name, metric string
			limit        time.Duration
			node         func(testing.TB) string
		}{
			{"the primary", "s/primary", lostNodeLimit, func(t testing.TB) string {
				return h.without(t, h.primaryNode, h.controlPlaneNode)
			}},
			{"the operator that is elected", "s/operator", lostNodeLimit, func(t testing.TB) string {
				return h.without(t, h.operatorNode, h.primaryNode)
			}},
			{"the control plane", "s/control-plane", lostNodeLimit, h.controlPlaneNode},
			{"both operator and primary", "s/operator-and-primary", lostNodeLimit, func(t testing.TB) string {
				return h.with(t, h.operatorNode)
			}},
			{"operator, primary and control plane", "s/all-three", lostAllLimit, h.gather},
		} {
			gap, acknowledged, lost := h.lose(b, c.node(b))
			fmt.Fprintf(w, "%s\t%.0f s\t%d\t%d\n", c.name, gap.Seconds(), acknowledged, lost)
			b.ReportMetric(gap.Seconds(), c.metric)
			if gap > c.limit {
				b.Errorf("%s: a login works again after %s, which is more than %s", c.name, gap, c.limit)
			}
			if lost > 0 {
				b.Errorf("%s: %d of %d acknowledged rows are lost", c.name, lost, acknowledged)
			}
		}
		w.Flush()
	}
}

// highlyAvailable is a release of which any node may be lost.
type highlyAvailable struct {
	*faults
	// database is the URL of the primary, at the node that tests use.
	database string
}

func (h *highlyAvailable) primaryNode(t testing.TB) string {
	return h.nodeOf(t, h.namespace, "cnpg.io/cluster=nap-pg,cnpg.io/instanceRole=primary")
}

func (h *highlyAvailable) controlPlaneNode(t testing.TB) string {
	return h.nodeOf(t, h.namespace, "app=nap-cp")
}

// operatorNode is where the operator runs that holds the lease.
func (h *highlyAvailable) operatorNode(t testing.TB) string {
	t.Helper()
	var node string
	eventually(t, time.Minute, "an operator is elected", func(ctx context.Context) (bool, string) {
		leases, err := h.client.CoordinationV1().Leases(h.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, lease := range leases.Items {
			if !strings.HasSuffix(lease.Name, ".cnpg.io") || lease.Spec.HolderIdentity == nil {
				continue
			}
			pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
			found, err := h.client.CoreV1().Pods(h.namespace).Get(ctx, pod, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			node = found.Spec.NodeName
			return podReady(found), pod + " is not ready"
		}
		return false, fmt.Sprintf("none of %d leases is an operator's", len(leases.Items))
	})
	return node
}

func (h *highlyAvailable) nodeOf(t testing.TB, namespace, selector string) string {
	t.Helper()
	var node string
	eventually(t, time.Minute, selector+" runs", func(ctx context.Context) (bool, string) {
		pods, err := h.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return false, err.Error()
		}
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp == nil && podReady(&pods.Items[i]) {
				node = pods.Items[i].Spec.NodeName
				return true, ""
			}
		}
		return false, fmt.Sprintf("%d pods, none ready", len(pods.Items))
	})
	return node
}

// with has the primary move to the node, and returns it.
func (h *highlyAvailable) with(t testing.TB, node func(testing.TB) string) string {
	t.Helper()
	to := node(t)
	if h.primaryNode(t) != to {
		h.promote(t, to)
	}
	return to
}

// without has the primary, or what else may move, leave the node that is to be lost for one thing alone.
func (h *highlyAvailable) without(t testing.TB, node, other func(testing.TB) string) string {
	t.Helper()
	for _, candidate := range h.nodes(t) {
		if node(t) != other(t) {
			return node(t)
		}
		h.promote(t, candidate)
	}
	return node(t)
}

// gather has the primary and the control plane move to the operator's node, and returns it.
func (h *highlyAvailable) gather(t testing.TB) string {
	t.Helper()
	to := h.with(t, h.operatorNode)
	for _, node := range h.nodes(t) {
		if node != to {
			h.close(t, node, true)
		}
	}
	pods := metav1.ListOptions{LabelSelector: "app=nap-cp"}
	if err := h.client.CoreV1().Pods(h.namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, pods); err != nil {
		t.Fatal(err)
	}
	h.whole(t)
	for _, node := range h.nodes(t) {
		h.close(t, node, false)
	}
	return to
}

// close says whether a node takes no new pods.
func (h *highlyAvailable) close(t testing.TB, node string, closed bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec": {"unschedulable": %t}}`, closed)
	if _, err := h.client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (h *highlyAvailable) nodes(t testing.TB) []string {
	t.Helper()
	list, err := h.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, node := range list.Items {
		names = append(names, node.Name)
	}
	return names
}

// promote makes the instance on a node the primary, as the operator's own command line does.
func (h *highlyAvailable) promote(t testing.TB, node string) {
	t.Helper()
	pods, err := h.client.CoreV1().Pods(h.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "cnpg.io/podRole=instance"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName != node {
			continue
		}
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"targetPrimary": pod.Name,
			"targetPrimaryTimestamp": time.Now().UTC().Format(time.RFC3339Nano), "phase": "Switchover in progress"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.dynamic.Resource(clusters).Namespace(h.namespace).Patch(t.Context(), "nap-pg", types.MergePatchType, patch,
			metav1.PatchOptions{}, "status")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Minute, "the primary runs on "+node, func(context.Context) (bool, string) {
			on := h.primaryNode(t)
			return on == node, "it runs on " + on
		})
		h.whole(t)
		return
	}
	t.Fatalf("no instance runs on %s", node)
}

// whole waits until nothing is missing: all nodes, instances, operators and services.
func (h *highlyAvailable) whole(t testing.TB) {
	t.Helper()
	eventually(t, 5*time.Minute, "everything is ready", func(ctx context.Context) (bool, string) {
		cluster, err := h.dynamic.Resource(clusters).Namespace(h.namespace).Get(ctx, "nap-pg", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		ready, _, _ := unstructured.NestedInt64(cluster.Object, "status", "readyInstances")
		phase, _, _ := unstructured.NestedString(cluster.Object, "status", "phase")
		if ready != 3 || phase != "Cluster in healthy state" {
			return false, fmt.Sprintf("%d instances are ready: %s", ready, phase)
		}
		deployments, err := h.client.AppsV1().Deployments(h.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for i := range deployments.Items {
			if d := &deployments.Items[i]; !available(d) {
				return false, fmt.Sprintf("Deployment %s has %d of %d", d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas)
			}
		}
		return true, ""
	})
}

func available(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.UnavailableReplicas == 0
}

// lose takes a node's power until logins work again without it, and gives it back. The gap is the time from the loss to
// the last login that failed, or was made to wait until it worked.
func (h *highlyAvailable) lose(t testing.TB, node string) (gap time.Duration, acknowledged, lost int) {
	t.Helper()
	survivor := h.survivor(t, node)
	ctx, stop := context.WithTimeout(context.Background(), longestProbe)
	defer stop()
	var group sync.WaitGroup
	var rows []int64
	group.Go(func() { rows = h.acknowledge(ctx, survivor) })

	login := h.loginAt(t, survivor)
	if err := login(t.Context()); err != nil {
		t.Fatalf("a login before the loss of %s: %v", node, err)
	}
	began := time.Now()
	h.onTestbed(t, "node", "stop", node)
	// Kubernetes waits most of a minute before it gives a node up, and pods leave it half a minute later: values-ha.yaml.
	eventually(t, 2*time.Minute, node+" is given up", func(ctx context.Context) (bool, string) {
		if login(ctx) != nil {
			gap = time.Since(began)
		}
		found, err := h.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return !nodeReady(found), "it counts as ready"
	})
	steady := time.Now()
	eventually(t, 5*time.Minute, "logins work for as long as pods take to leave", func(ctx context.Context) (bool, string) {
		if err := login(ctx); err != nil {
			gap, steady = time.Since(began), time.Now()
			return false, err.Error()
		}
		return time.Since(steady) > 45*time.Second, "not for long enough"
	})
	h.onTestbed(t, "node", "start", node)
	h.whole(t)
	stop()
	group.Wait()
	return gap.Round(time.Second), len(rows), h.missing(t, rows)
}

func nodeReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// survivor is the address of another node.
func (h *highlyAvailable) survivor(t testing.TB, lost string) string {
	t.Helper()
	list, err := h.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range list.Items {
		for _, address := range node.Status.Addresses {
			if node.Name != lost && address.Type == corev1.NodeInternalIP {
				return address.Address
			}
		}
	}
	t.Fatalf("no node but %s has an address", lost)
	return ""
}

// loginAt logs the administrator in through one node.
func (h *highlyAvailable) loginAt(t testing.TB, address string) func(context.Context) error {
	t.Helper()
	secret, err := h.client.CoreV1().Secrets(h.namespace).Get(t.Context(), "nap-admin", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := json.Marshal(map[string]string{
		"username": string(secret.Data["username"]), "password": string(secret.Data["password"])})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) error {
		url := fmt.Sprintf("http://%s:30080/api/auth/login", address)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(credentials))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := asker.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("a login answers %s", answer.Status)
		}
		return nil
	}
}

// acknowledge inserts rows, each over a connection of its own, and returns those that PostgreSQL acknowledged.
func (h *highlyAvailable) acknowledge(ctx context.Context, address string) (rows []int64) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return rows
		case <-ticker.C:
		}
		n := time.Now().UnixNano()
		if h.insert(ctx, address, n) == nil {
			rows = append(rows, n)
		}
	}
}

func (h *highlyAvailable) insert(ctx context.Context, address string, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, h.at(address))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "INSERT INTO test.acknowledged VALUES ($1)", n)
	return err
}

// at is the database's URL at another node.
func (h *highlyAvailable) at(address string) string {
	u, err := url.Parse(h.database)
	if err != nil {
		return h.database
	}
	u.Host = address + ":" + u.Port()
	return u.String()
}

func (h *highlyAvailable) write(t testing.TB, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), h.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), statements, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// missing counts rows that are not there.
func (h *highlyAvailable) missing(t testing.TB, rows []int64) int {
	t.Helper()
	if len(rows) == 0 {
		t.Fatal("PostgreSQL acknowledged no row, so this shows nothing")
	}
	conn, err := pgx.Connect(t.Context(), h.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var found int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM test.acknowledged WHERE n = ANY($1)", rows).Scan(&found); err != nil {
		t.Fatal(err)
	}
	return len(rows) - found
}
