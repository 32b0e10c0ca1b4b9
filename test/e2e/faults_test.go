//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// toTen upgrades to an image that brings ten migrations, besides those that come before them the first time.
var toTen = []string{"--wait", "--set", "global.images.controlPlane.tag=v0.3.0"}

// fault is something that happens while a release is upgraded with ten migrations.
type fault struct {
	name string
	// happen is called once the upgrade has begun. It returns when the fault is over, or at its worst.
	happen func(t *testing.T, f *faults)
	// fix repairs what happen broke, before the upgrade is tried again.
	fix func(t *testing.T, f *faults)
	// testbed says that only a testbed can be broken like this, and not somebody's own cluster.
	testbed bool
	// short and full are how often it happens in the short and in the full suite.
	short, full int
}

// faults is the release that faults happen to.
type faults struct {
	*release
	testbed, database string
	// base are the sets of migrations that were recorded by the install, want is the schema after the upgrade.
	base []string
	want string
	rand *rand.Rand
}

// TestFaults upgrades a release again and again while something breaks, and compares schema, ledgers and rows after
// each with those of an upgrade in peace. SOAK=1 repeats each fault often.
func TestFaults(t *testing.T) {
	env := newEnvironment(t)
	f := &faults{release: env.release(env.helm4, "neutree", "nap"), testbed: os.Getenv("TESTBED")}
	t.Cleanup(func() { f.purge(t) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	f.rand = rand.New(rand.NewPCG(seed, 0))

	f.mustUpgrade(t, "--wait")
	f.createWorkspace(t, f.login(t), "kept")
	f.database = f.openDatabase(t)
	f.base = query(t, f.database, "SELECT set_hash FROM neutree.migration_sets")
	f.mustUpgrade(t, toTen...)
	f.want = schemaOf(t, f.database)

	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\truns\tended well at once\tafter another upgrade\tlosses")
	for _, fault := range allFaults() {
		if fault.testbed && f.testbed == "" {
			t.Logf("%s: not on a cluster that is no testbed", fault.name)
			continue
		}
		runs := fault.short
		if os.Getenv("SOAK") != "" {
			runs = fault.full
		}
		var atOnce, again, lost int
		for n := range runs {
			ok := t.Run(strings.ReplaceAll(fault.name, " ", "-")+"/"+strconv.Itoa(n+1), func(t *testing.T) {
				if f.survive(t, fault) {
					atOnce++
				} else {
					again++
				}
			})
			if !ok {
				lost++
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", fault.name, runs, atOnce, again, lost)
	}
	w.Flush()
	t.Logf("faults:\n%s", &table)
	t.Run("cancelled-and-rolled-back", f.cancelled)
}

// cancelled ends an upgrade as Ctrl-C or a cancelled pipeline does, in the middle of a migration, and has Helm roll
// back. Once that rollback has ended nothing may migrate any more.
func (f *faults) cancelled(t *testing.T) {
	forgetTen(t, f.database, f.base)
	before := schemaOf(t, f.database)
	conn, err := pgx.Connect(t.Context(), f.database)
	if err != nil {
		t.Fatal(err)
	}
	release := func() { _ = conn.Close(context.WithoutCancel(t.Context())) }
	defer release()
	// The first migration waits for its ledger, in turns, for longer than the rest of this takes.
	const lock = "BEGIN; LOCK TABLE public.schema_migrations IN SHARE MODE"
	if _, err := conn.Exec(t.Context(), lock, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	args := slices.Concat([]string{"upgrade", f.name, f.chart, "--namespace", f.namespace,
		"--timeout", "5m", "--rollback-on-failure"}, toTen)
	helm := exec.CommandContext(t.Context(), f.helm, args...)
	var output bytes.Buffer
	helm.Stdout, helm.Stderr = &output, &output
	started := time.Now()
	if err := helm.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 4*time.Minute, "a migration waits for the ledger", func(context.Context) (bool, string) {
		waiting := query(t, f.database, `SELECT count(*)::text FROM pg_locks
 WHERE NOT granted AND relation = 'public.schema_migrations'::regclass`)
		return waiting[0] != "0", "none does"
	})
	if err := helm.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cancelled := time.Now()
	err = helm.Wait()
	got := result{output: output.String(), err: err, took: time.Since(started)}
	wantRefused(t, got, 3*time.Minute, "rolled back", "the database fits this revision")
	t.Logf("rolled back %s after it was cancelled", time.Since(cancelled).Round(100*time.Millisecond))
	if left := f.hookPods(t.Context()); len(left) > 0 {
		t.Errorf("after the rollback pod %s still runs, and may migrate", left[0].Name)
	}
	release()
	if diff := cmp.Diff(before, schemaOf(t, f.database)); diff != "" {
		t.Errorf("the database before the upgrade and after it was rolled back:\n%s", diff)
	}
	f.mustUpgrade(t, toTen...)
	if diff := cmp.Diff(f.want, schemaOf(t, f.database)); diff != "" {
		t.Errorf("the database after an upgrade in peace and after this one:\n%s", diff)
	}
}

// survive upgrades while the fault happens, upgrades once more if that failed, and compares. It tells whether the
// first upgrade ended well.
func (f *faults) survive(t *testing.T, fault fault) bool {
	forgetTen(t, f.database, f.base)
	done := f.begin(t, toTen...)
	fault.happen(t, f)
	got := <-done
	if fault.fix != nil {
		fault.fix(t, f)
	}
	if got.err != nil {
		t.Logf("the upgrade failed after %s: %s", got.took, lastLines(got.output))
		f.recover(t)
		f.mustUpgrade(t, toTen...)
	}
	// Pods that were on a node that stopped wait for the migrations that this test took back: by now they are there again.
	f.waitDeployments(t)
	if diff := cmp.Diff(f.want, schemaOf(t, f.database)); diff != "" {
		t.Errorf("schema, ledgers and rows of an upgrade in peace and of this one:\n%s", diff)
	}
	f.login(t)
	return got.err == nil
}

func allFaults() []fault {
	return []fault{
		{name: "hook pod killed at a random moment", happen: killAnyHook, short: 3, full: 50},
		{name: "two upgrades at once", happen: upgradeTwice, short: 1, full: 5},
		{name: "primary deleted during the migrations", happen: deletePrimary, short: 1, full: 5},
		{name: "a node stopped", happen: stopNode, testbed: true, short: 1, full: 3},
		{name: "the operator down", happen: stopOperator, fix: startOperator, short: 1, full: 3},
		{name: "the API server killed", happen: restartAPIServer, testbed: true, short: 1, full: 5},
	}
}

// hookPods are the pods that act before an upgrade replaces any service.
func (f *faults) hookPods(ctx context.Context) []corev1.Pod {
	list, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name"})
	if err != nil {
		return nil
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		job := pod.Labels["batch.kubernetes.io/job-name"]
		if strings.HasPrefix(job, "nap-bootstrap-") || strings.HasPrefix(job, "nap-seed") {
			continue
		}
		if pod.DeletionTimestamp == nil && (pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodPending) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func (f *faults) awaitHookPod(t *testing.T, match func(corev1.Pod) bool) corev1.Pod {
	t.Helper()
	var found corev1.Pod
	eventually(t, time.Minute, "a pod of a hook", func(ctx context.Context) (bool, string) {
		for _, pod := range f.hookPods(ctx) {
			if match(pod) {
				found = pod
				return true, ""
			}
		}
		return false, "there is none"
	})
	return found
}

func (f *faults) kill(t *testing.T, pod corev1.Pod) {
	t.Helper()
	now := int64(0)
	err := f.client.CoreV1().Pods(f.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	t.Logf("killed %s", pod.Name)
}

func killAnyHook(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	// Up to the time that the hooks take when nothing disturbs them.
	select {
	case <-t.Context().Done():
	case <-time.After(time.Duration(f.rand.Int64N(int64(8 * time.Second)))):
	}
	pods := f.hookPods(t.Context())
	if len(pods) == 0 {
		t.Log("the hooks were done by then")
		return
	}
	f.kill(t, pods[f.rand.IntN(len(pods))])
}

func upgradeTwice(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	second := f.upgrade(t.Context(), toTen...)
	wantRefused(t, second, time.Minute, "another operation")
}

func deletePrimary(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(pod corev1.Pod) bool { return strings.Contains(pod.Name, "migrate") })
	f.kill(t, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "nap-pg-1"}})
}

// stopNode takes a node's power away until the cluster has noticed, and gives it back.
func stopNode(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	name := f.spareNode(t)
	f.onTestbed(t, "node", "stop", name)
	took := eventually(t, 2*time.Minute, name+" is given up", func(ctx context.Context) (bool, string) {
		node, err := f.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status != corev1.ConditionTrue, string(condition.Status)
			}
		}
		return false, "it has no condition Ready"
	})
	t.Logf("%s was given up after %s", name, took)
	f.onTestbed(t, "node", "start", name)
}

// spareNode is one that the test's requests do not go through, and that the database can't miss: it would have to wait
// for the node, since volumes of the testbed can't leave theirs.
func (f *faults) spareNode(t *testing.T) string {
	t.Helper()
	claim, err := f.client.CoreV1().PersistentVolumeClaims(f.namespace).Get(t.Context(), "nap-pg-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := f.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		if node.Name != f.nodeName && node.Name != claim.Annotations["volume.kubernetes.io/selected-node"] {
			return node.Name
		}
	}
	t.Fatalf("none of %d nodes can be spared", len(nodes.Items))
	return ""
}

func stopOperator(t *testing.T, f *faults) { f.scaleOperator(t, 0) }

func startOperator(t *testing.T, f *faults) { f.scaleOperator(t, 1) }

func restartAPIServer(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	f.onTestbed(t, "restart", "kube-apiserver")
}

func (f *faults) onTestbed(t testing.TB, args ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), f.testbed, args...).CombinedOutput(); err != nil {
		t.Fatalf("testbed %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}
