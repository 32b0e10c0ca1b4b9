//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// upgradeOrBack are the arguments of an upgrade after which helm goes back by itself if it does not end well.
func (f *faults) upgradeOrBack(timeout time.Duration) []string {
	flag := "--rollback-on-failure"
	if f.helm == f.helm3 {
		flag = "--atomic"
	}
	return slices.Concat([]string{"upgrade", f.name, f.chart, "--namespace", f.namespace,
		"--timeout", timeout.String(), flag}, toTen)
}

// launch starts helm as a process that signals can be sent to. What it returns is there once the process has ended.
func (f *faults) launch(t *testing.T, args ...string) (*os.Process, <-chan result) {
	t.Helper()
	helm := exec.CommandContext(t.Context(), f.helm, args...)
	var output bytes.Buffer
	helm.Stdout, helm.Stderr = &output, &output
	started := time.Now()
	if err := helm.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan result, 1)
	go func() {
		err := helm.Wait()
		done <- result{output: output.String(), err: err, took: time.Since(started).Round(100 * time.Millisecond)}
	}()
	return helm.Process, done
}

// await returns how a helm ended that was launched.
func await(t *testing.T, done <-chan result, limit time.Duration) result {
	t.Helper()
	select {
	case got := <-done:
		return got
	case <-time.After(limit):
		t.Fatalf("helm has not ended within %s", limit)
	}
	return result{}
}

// stopped ends the helm of an upgrade by a signal at any moment: as Ctrl-C or a cancelled pipeline does, after which
// helm goes back by itself, or as a machine that is lost does.
func stopped(signal os.Signal) func(*testing.T, *faults) ending {
	return func(t *testing.T, f *faults) ending {
		f.toBase(t)
		process, done := f.launch(t, f.upgradeOrBack(5*time.Minute)...)
		moment := f.within(f.peace)
		select {
		case got := <-done:
			t.Logf("helm ended before it was stopped: %v after %s", got.err, got.took)
			return f.stands(t, got)
		case <-time.After(moment):
		}
		if err := process.Signal(signal); err != nil {
			t.Logf("helm had just ended: %v", err)
		}
		got := await(t, done, 10*time.Minute)
		t.Logf("%s after %s; helm ended after %s: %s", signal, moment.Round(100*time.Millisecond), got.took, ended(got))
		if signal == os.Interrupt && strings.Contains(got.output, "error occurred while rolling back") {
			t.Errorf("helm could not go back by itself:\n%s", got.output)
		}
		return f.stands(t, got)
	}
}

// outOfTime upgrades with a --timeout that may be too short, for going back too. Each hook has that time, and then the
// services: a longer one than half of what the whole takes would pass for none of them.
func outOfTime(t *testing.T, f *faults) ending {
	f.toBase(t)
	timeout := 2*time.Second + f.within(f.peace/2)
	got := f.run(t.Context(), 2*timeout+3*time.Minute, f.upgradeOrBack(timeout)...)
	t.Logf("--timeout %s; helm ended after %s: %s", timeout, got.took, ended(got))
	return f.stands(t, got)
}

// stands says how the release stands after an upgrade that was to go back if it failed. Where it was left half-way, one
// time of two the next operation is a rollback, which Helm allows then, and not an upgrade.
func (f *faults) stands(t *testing.T, got result) ending {
	t.Helper()
	if got.err == nil {
		return isUpgraded
	}
	status, revision := f.standing(t)
	t.Logf("revision %d is %s", revision, status)
	switch {
	case status == "deployed" && revision == f.baseRevision+1:
		t.Log("helm was done when it was stopped")
		return isUpgraded
	case status == "deployed":
		f.wantBack(t)
		return asBefore
	case f.rand.IntN(2) == 0:
		f.rollback(t, strconv.Itoa(f.baseRevision))
		f.wantBack(t)
	}
	return unfinished
}

// cancelledMigrating ends an upgrade as Ctrl-C or a cancelled pipeline does, in the middle of a migration, and has Helm
// roll back. Once that rollback has ended nothing may migrate any more.
func cancelledMigrating(t *testing.T, f *faults) ending {
	// The first migration waits for its ledger, in turns, for longer than the rest of this takes.
	release := lockTable(t, f.database, "public.schema_migrations IN SHARE MODE")
	defer release()
	process, done := f.launch(t, f.upgradeOrBack(5*time.Minute)...)
	eventually(t, 4*time.Minute, "a migration waits for the ledger", func(context.Context) (bool, string) {
		waiting := query(t, f.database, `SELECT count(*)::text FROM pg_locks
 WHERE NOT granted AND relation = 'public.schema_migrations'::regclass`)
		return waiting[0] != "0", "none does"
	})
	if err := process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cancelled := time.Now()
	got := await(t, done, 6*time.Minute)
	wantRefused(t, got, 3*time.Minute, "rolled back", "the database fits this revision")
	t.Logf("rolled back %s after it was cancelled", time.Since(cancelled).Round(100*time.Millisecond))
	if left := f.hookPods(t.Context()); len(left) > 0 {
		t.Errorf("after the rollback pod %s still runs, and may migrate", left[0].Name)
	}
	release()
	if diff := cmp.Diff(f.before, schemaOf(t, f.database)); diff != "" {
		t.Errorf("the database before the upgrade and after it was rolled back:\n%s", diff)
	}
	return asBefore
}

// rolledBackMeanwhile has a second person roll back while the hook of an upgrade is at work, whose helm is still there.
func rolledBackMeanwhile(t *testing.T, f *faults) ending {
	f.toBase(t)
	done := f.begin(t, toTen...)
	f.awaitHookPod(t, func(pod corev1.Pod) bool { return strings.HasPrefix(pod.Name, "nap-prepare") })
	f.pause(t, hookTime/2)
	back := f.run(t.Context(), 6*time.Minute, "rollback", f.name, strconv.Itoa(f.baseRevision),
		"--namespace", f.namespace, "--wait", "--timeout", "5m")
	upgrade := await(t, done, 7*time.Minute)
	t.Logf("the upgrade ended after %s: %s", upgrade.took, ended(upgrade))
	t.Logf("the rollback ended after %s: %s", back.took, ended(back))
	if back.err != nil {
		return unfinished
	}
	if status, revision := f.standing(t); status != "deployed" || revision != f.baseRevision+2 {
		t.Errorf("after the rollback revision %d is %s, want revision %d deployed", revision, status, f.baseRevision+2)
	}
	f.wantBack(t)
	return asBefore
}

func ended(got result) string { return fmt.Sprintf("%v\n%s", got.err, lastLines(got.output)) }
