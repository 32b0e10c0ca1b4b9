package migrate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// slow are files that take a moment each, so that something can happen meanwhile.
func slow() files {
	m := files{}
	for n := 117; n <= 120; n++ {
		m[fmt.Sprintf("%d_slow.sql", n)] = fmt.Sprintf("CREATE TABLE slow%d (id int); SELECT pg_sleep(0.05); CREATE INDEX ON slow%d (id); ALTER TABLE users ADD COLUMN slow%d int;", n, n, n)
	}
	return m
}

func TestTwoRunsAtOnce(t *testing.T) {
	url := pgtest.Start(t)
	folders := []hook.Migration{folder(t, "control-plane", slow()), folder(t, "gateway", nil), folder(t, "sandbox", nil)}
	type outcome struct {
		result migrate.Result
		err    error
	}
	outcomes := make(chan outcome)
	for range 2 {
		go func() {
			m, _ := migrator(url)
			result, err := m.Apply(t.Context(), testSet, folders)
			outcomes <- outcome{result, err}
		}()
	}
	applied := 0
	for range 2 {
		o := receive(t, outcomes)
		if o.err != nil {
			t.Error(o.err)
		}
		applied += len(o.result.Applied)
	}
	if applied != 9 {
		t.Errorf("the two runs applied %d files, want each of the 9 once", applied)
	}
}

func TestRunsThatOnlyRecordMeet(t *testing.T) {
	url := pgtest.Start(t)
	folders := []hook.Migration{folder(t, "control-plane", nil)}
	apply(t, url, folders...)
	exec(t, open(t, url, "test"), "DROP SCHEMA neutree CASCADE")
	failures := make(chan error)
	for n := range 8 {
		go func() {
			m, _ := migrator(url)
			_, err := m.Apply(t.Context(), fmt.Sprint("set", n), folders)
			failures <- err
		}()
	}
	for range 8 {
		if err := receive(t, failures); err != nil {
			t.Error(err)
		}
	}
	if n := query[int64](t, open(t, url, "test"), "SELECT count(*) FROM neutree.migration_sets")[0]; n != 8 {
		t.Errorf("%d sets are recorded, want 8", n)
	}
}

// runner starts a run in a process of its own.
func runner(t *testing.T, url string, folders []hook.Migration) *osexec.Cmd {
	t.Helper()
	raw, err := json.Marshal(runnerArgs{URL: url, Folders: folders})
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), runnerEnv+"="+string(raw))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func kill(t *testing.T, cmd *osexec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

func TestKilledAtAnyInstant(t *testing.T) {
	folders := []hook.Migration{folder(t, "control-plane", slow()), folder(t, "gateway", nil), folder(t, "sandbox", nil)}
	whole := pgtest.Start(t)
	apply(t, whole, folders...)
	want := state(t, whole)

	for range 8 {
		url := pgtest.Start(t)
		var instants []time.Duration
		for range 3 {
			instant := rand.N(500 * time.Millisecond)
			instants = append(instants, instant)
			cmd := runner(t, url, folders)
			time.Sleep(instant)
			kill(t, cmd)
		}
		apply(t, url, folders...)
		if diff := cmp.Diff(want, state(t, url)); diff != "" {
			t.Errorf("killed after %v: %s", instants, diff)
		}
	}
}

const asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600%' AND pid <> pg_backend_pid()"

func TestStatementOfAKilledRunEnds(t *testing.T) {
	url := pgtest.Start(t)
	folders := []hook.Migration{folder(t, "control-plane", files{"117_long.sql": "CREATE TABLE long (id int); SELECT pg_sleep(600);"})}
	conn := open(t, url, "test")
	cmd := runner(t, url, folders)
	eventually(t, "the long statement runs", func() bool { return query[int64](t, conn, asleep)[0] == 1 })
	kill(t, cmd)
	eventually(t, "the server gave the statement up", func() bool { return query[int64](t, conn, asleep)[0] == 0 })
}

func TestStatementOfAStoppedRunEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc, func())
		code hook.Code
		says string
	}{
		"signal": {func(ctx context.Context) (context.Context, context.CancelFunc, func()) {
			ctx, cancel := context.WithCancel(ctx)
			return ctx, cancel, cancel
		}, hook.Unexpected, "stopped by a signal"},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc, func()) {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			return ctx, cancel, func() {}
		}, hook.Deadline, "the deadline passed"},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Start(t)
			apply(t, url, folder(t, "control-plane", nil))
			before := state(t, url)
			ctx, cancel, end := c.end(t.Context())
			defer cancel()
			failure := make(chan error)
			go func() {
				m, _ := migrator(url)
				_, err := m.Apply(ctx, testSet, []hook.Migration{folder(t, "control-plane", files{"117_long.sql": "CREATE TABLE long (id int); SELECT pg_sleep(600);"})})
				failure <- hook.Stopped(ctx, err)
			}()
			conn := open(t, url, "test")
			eventually(t, "the long statement runs", func() bool { return query[int64](t, conn, asleep)[0] == 1 })
			end()
			wantFailure(t, receive(t, failure), c.code, c.says, "control-plane/117_long.sql", "rolled back")
			eventually(t, "the statement is cancelled", func() bool { return query[int64](t, conn, asleep)[0] == 0 })
			if diff := cmp.Diff(before, state(t, url)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLockOfAnotherRun(t *testing.T) {
	url := pgtest.Start(t)
	folders := []hook.Migration{folder(t, "control-plane", slow())}
	running := folders[0]
	write(t, running.Dir, files{"121_wait.sql": "SELECT pg_advisory_xact_lock(42);"})
	gate := open(t, url, "gate")
	exec(t, gate, "SELECT pg_advisory_lock(42)")
	first := make(chan error)
	go func() {
		m, _ := migrator(url)
		m.LockTimeout = time.Minute
		_, err := m.Apply(t.Context(), testSet, folders)
		first <- err
	}()
	eventually(t, "the first run waits at the gate", func() bool {
		return query[int64](t, gate, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 42")[0] == 1
	})
	m, said := migrator(url)
	m.LockWait = 300 * time.Millisecond
	_, err := m.Apply(t.Context(), testSet, folders)
	pid := query[int64](t, gate, "SELECT pid FROM pg_locks WHERE granted AND locktype = 'advisory' AND classid <> 0 AND pid <> pg_backend_pid()")[0]
	wantFailure(t, err, hook.Busy, "the migration lock was not free within 300ms", fmt.Sprintf("pid %d (nap-hooks on ", pid), "pg_terminate_backend")
	if !strings.Contains(said.String(), "waiting for the migration lock") {
		t.Errorf("the wait is not in the log: %s", said)
	}

	// A run whose plan is empty has no need of the lock.
	if _, err := m.Apply(t.Context(), "other", []hook.Migration{{Source: "control-plane", Dir: "testdata/control-plane"}}); err != nil {
		t.Errorf("nothing was pending: %v", err)
	}
	exec(t, gate, "SELECT pg_advisory_unlock(42)")
	if err := receive(t, first); err != nil {
		t.Error(err)
	}
}

func TestTableInUse(t *testing.T) {
	url := pgtest.Start(t)
	apply(t, url, folder(t, "control-plane", nil))
	before := state(t, url)
	next := folder(t, "control-plane", files{"117_alter.sql": "CREATE TABLE early (id int); ALTER TABLE users ADD COLUMN late int;"})
	report := open(t, url, "a long report")
	exec(t, report, "BEGIN; SELECT * FROM users")
	pid := report.PgConn().PID()

	m, said := migrator(url)
	m.LockTimeout, m.Attempts = 700*time.Millisecond, 2
	_, err := m.Apply(t.Context(), testSet, []hook.Migration{next})
	wantFailure(t, err, hook.Busy, "control-plane/117_alter.sql", "2 attempts", fmt.Sprintf("pid %d (a long report)", pid))
	if !strings.Contains(said.String(), "will be tried again") {
		t.Errorf("the retry is not in the log: %s", said)
	}
	if diff := cmp.Diff(before, state(t, url)); diff != "" {
		t.Error(diff)
	}

	m, said = migrator(url)
	m.LockTimeout = 500 * time.Millisecond
	done := make(chan error)
	go func() {
		_, err := m.Apply(t.Context(), testSet, []hook.Migration{next})
		done <- err
	}()
	eventually(t, "the first attempt is over", func() bool { return strings.Contains(said.String(), "will be tried again") })
	exec(t, report, "COMMIT")
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}
