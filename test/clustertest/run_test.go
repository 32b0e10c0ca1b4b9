package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/joshdk/go-junit"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
	"github.com/neutree-ai/packaging/test/dump/dumptest"
)

// trial is a run of the tests with programs that only pretend.
type trial struct {
	settings
	t              *testing.T
	dir            string
	stdout         bytes.Buffer
	stderr, calls_ string
}

func newTrial(t *testing.T, tests ...catalog.Test) *trial {
	t.Helper()
	dir := t.TempDir()
	kubeconfig, err := os.ReadFile(dumptest.Kubeconfig(t, dumptest.New(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	t.Setenv(fakeDir, dir)
	t.Setenv("NEUTREE_TESTBED_NAME", "")
	r := &trial{t: t, dir: dir}
	r.settings = settings{
		all: tests, root: t.TempDir(), out: filepath.Join(dir, "out"), testbed: os.Args[0], binary: os.Args[0], testbeds: 2, nodes: 3,
		limit: time.Minute, upLimit: time.Minute, grace: 5 * time.Second, stdout: &r.stdout, stderr: stderr, room: func() bool { return true },
	}
	return r
}

// test is one whose folder exists.
func test(name string, cost int, needs catalog.Needs) catalog.Test {
	return catalog.Test{Name: name, Suite: catalog.Suite{Name: "fake"}, Cost: cost, Needs: needs}
}

func (r *trial) do(ctx context.Context, want int) {
	r.t.Helper()
	code, err := r.run(ctx)
	if err != nil || code != want {
		r.t.Errorf("exit code %d, %v, want %d", code, err, want)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "stderr"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.stderr, r.calls_ = string(text), calls(r.dir)
	for _, name := range []string{"t1", "t2", "t3"} {
		if _, err := os.Stat(filepath.Join(r.dir, name)); err == nil {
			r.t.Errorf("testbed %s is still up", name)
		}
	}
	if r.t.Failed() {
		r.t.Logf("stdout:\n%s\nstderr:\n%s\ncalls:\n%s", &r.stdout, r.stderr, r.calls_)
	}
}

func (r *trial) want(text string, patterns ...string) {
	r.t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
			r.t.Errorf("%q does not match:\n%s", pattern, text)
		}
	}
}

// canaries are the files that hold the value of a Secret.
func (r *trial) wantNoSecrets() {
	r.t.Helper()
	check := func(name, text string) {
		for _, canary := range dumptest.Canaries() {
			if strings.Contains(text, canary) {
				r.t.Errorf("%s holds %q:\n%s", name, canary, text)
			}
		}
	}
	check("stdout", r.stdout.String())
	check("stderr", r.stderr)
	if err := filepath.WalkDir(r.out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		check(path, string(text))
		return err
	}); err != nil {
		r.t.Error(err)
	}
}

func (r *trial) wantFile(path, words string) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.out, path))
	if err != nil {
		r.t.Error(err)
	} else if !strings.Contains(string(text), words) {
		r.t.Errorf("%s does not hold %q:\n%s", path, words, text)
	}
}

func TestEverythingPasses(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}), test("TestPassB", 20, catalog.Needs{}), test("TestPassC", 10, catalog.Needs{}), test("TestSkips", 1, catalog.Needs{}))
	r.do(t.Context(), 0)
	r.want(r.stdout.String(), `^ok   TestPassA \(\d+ s, t[12]\)$`, `^skip TestSkips`, `^3 passed, 0 failed, 1 skipped$`, `^t1 +\d`, `^t2 +\d`)
	if strings.Contains(r.stdout.String(), "says something") {
		t.Errorf("the output of a test that passed is printed:\n%s", &r.stdout)
	}
	r.want(r.stderr, `^\[ 0:0\d\] t1: testbed up$`, `^\[ 0:0\d\] t[12]: TestPassA$`)
	if strings.Contains(r.stderr, "\x1b") {
		t.Errorf("control codes in a file: %q", r.stderr)
	}
	if _, err := os.Stat(filepath.Join(r.out, "failed")); err == nil {
		t.Error("there is a folder of tests that failed")
	}
}

func TestVerbose(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}))
	r.verbose = true
	r.do(t.Context(), 0)
	r.want(r.stdout.String(), `TestPassA says something`)
}

// A panic, a hang and a failure are each one test's; what they leave is written down without a Secret's value, before
// their testbeds are replaced.
func TestFailures(t *testing.T) {
	tests := []catalog.Test{
		test("TestHangs", 90, catalog.Needs{}), test("TestPanics", 80, catalog.Needs{}), test("TestFails", 70, catalog.Needs{}),
		test("TestWritesItself", 60, catalog.Needs{}), test("TestNothing", 50, catalog.Needs{}), test("TestPassA", 10, catalog.Needs{}),
		test("TestPassB", 10, catalog.Needs{}),
	}
	r := newTrial(t, tests...)
	r.limit = 2 * time.Second
	r.do(t.Context(), exitFailed)
	out := r.stdout.String()
	r.want(out, `^ok   TestPassA`, `^ok   TestPassB`, `^FAIL TestHangs \(\d+ s, t[12]\): it hung: not done within 2s`, `SIGQUIT: quit`,
		`panic: at the disco`, `^FAIL TestFails`, `^FAIL TestNothing .*: no test ran`, `^3 passed, 5 failed, 0 skipped$`)
	r.wantNoSecrets()
	for _, name := range []string{"TestHangs", "TestPanics", "TestFails"} {
		r.wantFile("failed/"+name+"/cluster/events.txt", "exec probe said ***")
		r.wantFile("failed/"+name+"/cluster/logs/nap/cp/main.previous.log", "admin is ready")
		r.wantFile("failed/"+name+"/nodes/hub/kube-apiserver.log", "admin is ready")
		r.wantFile("failed/"+name+"/output.log", name)
		r.want(r.calls_, `begin `+name+` on t[12]`)
	}
	r.wantFile("failed/TestHangs/output.log", "goroutine 1 ")
	r.wantFile("failed/TestWritesItself/before/events.txt", "admin is ready")
	if _, err := os.Stat(filepath.Join(r.out, "failed/TestWritesItself/cluster")); err == nil {
		t.Error("what the test wrote itself, before it cleaned up, is written again")
	}
	// Seven tests, five of which leave a testbed that is not used again.
	if ups := strings.Count(r.calls_, " up "); ups < 5 || ups > 7 {
		t.Errorf("%d testbeds came up:\n%s", ups, r.calls_)
	}
	suites, err := junit.IngestFile(filepath.Join(r.out, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]junit.Status{}
	for _, suite := range suites {
		for _, one := range suite.Tests {
			statuses[one.Name] = one.Status
		}
	}
	for name, want := range map[string]junit.Status{
		"TestFails/one": junit.StatusPassed, "TestFails/two": junit.StatusFailed, "TestHangs": junit.StatusFailed,
		"TestPanics": junit.StatusFailed, "TestPassA": junit.StatusPassed, "TestNothing": junit.StatusFailed,
	} {
		if statuses[name] != want {
			t.Errorf("JUnit says of %s %q, want %q", name, statuses[name], want)
		}
	}
}

func TestTestbedIsTriedOnceMore(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}), test("TestPassB", 20, catalog.Needs{}))
	t.Setenv(fakeBroken, "t1")
	r.do(t.Context(), 0)
	r.want(r.stderr, `testbed t1 did not come up and is tried once more: .*--name t1 up --nodes 3`, `the API server does not answer`)
	if n := strings.Count(r.calls_, "t1 up"); n != 2 {
		t.Errorf("t1 was brought up %d times, want 2:\n%s", n, r.calls_)
	}
}

func TestOthersRunTheTestsOfATestbedThatDoesNotComeUp(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}), test("TestPassB", 20, catalog.Needs{}), test("TestPassC", 10, catalog.Needs{}))
	t.Setenv(fakeBroken, "t1 t1")
	r.do(t.Context(), 0)
	r.want(r.stderr, `testbed t1 did not come up, the others run its tests: `)
	r.want(r.calls_, `begin TestPassA on t2`, `begin TestPassB on t2`, `begin TestPassC on t2`)
}

func TestNoTestbedComesUp(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}), test("TestPassB", 20, catalog.Needs{}))
	t.Setenv(fakeBroken, "t1 t1 t2 t2")
	r.do(t.Context(), exitFailed)
	r.want(r.stdout.String(), `FAIL +TestPassA .*not run: no testbed came up for it`, `^0 passed, 2 failed, 0 skipped$`)
}

func TestNoMemoryForAnother(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, r *trial){
		"the machine says so": func(_ *testing.T, r *trial) { r.room = func() bool { return false } },
		"the testbed says so": func(t *testing.T, _ *trial) { t.Setenv(fakeFull, "t2") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t, test("TestPassA", 30, catalog.Needs{}), test("TestPassB", 20, catalog.Needs{}), test("TestPassC", 10, catalog.Needs{}))
			prepare(t, r)
			r.do(t.Context(), 0)
			r.want(r.stderr, `^no memory for testbed t2: the others run its tests$`)
			if n := strings.Count(r.stderr, "no memory"); n != 1 {
				t.Errorf("said %d times:\n%s", n, r.stderr)
			}
			r.want(r.stdout.String(), `^3 passed, 0 failed, 0 skipped$`)
		})
	}
}

func TestInterrupt(t *testing.T) {
	r := newTrial(t, test("TestHangs", 30, catalog.Needs{}), test("TestHangsToo", 20, catalog.Needs{}),
		test("TestPassLast", 10, catalog.Needs{}))
	r.alongside = "sleep 60"
	ctx, interrupt := context.WithCancel(t.Context())
	began := make(chan error, 1)
	go func() {
		began <- wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
			return strings.Count(calls(r.dir), "begin TestHangs") == 2, nil
		})
		interrupt()
	}()
	r.do(ctx, exitInterrupted)
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	r.want(r.stdout.String(), `skip +TestHangs .*interrupted`, `skip +TestPassLast .*interrupted before it began`,
		`skip +sleep 60 .*interrupted`, `^0 passed, 0 failed, 4 skipped$`)
}

func TestAlongside(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}))
	r.alongside = "echo seen"
	r.do(t.Context(), 0)
	r.want(r.stdout.String(), `^ok   echo seen \(\d+ s, alongside\)$`, `^ok   TestPassA`,
		`^2 passed, 0 failed, 0 skipped$`)
	r.want(r.stderr, `^\[ 0:0\d\] alongside: echo seen$`)
	r.wantFile("output/alongside.log", "seen")
	if strings.Contains(r.stdout.String(), "=== echo seen") {
		t.Errorf("the output of a command that passed is printed:\n%s", &r.stdout)
	}
}

func TestAlongsideFails(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}))
	r.alongside = "ls no-such-file"
	r.do(t.Context(), exitFailed)
	r.want(r.stdout.String(), `^=== ls no-such-file$`, `no-such-file.*: No such file`,
		`^FAIL ls no-such-file \(\d+ s, alongside\): exit status 2$`,
		`^ok   TestPassA`, `^1 passed, 1 failed, 0 skipped$`)
	r.wantFile("junit.xml", "No such file")
}

func TestAlongsideIsNotThere(t *testing.T) {
	r := newTrial(t, test("TestPassA", 30, catalog.Needs{}))
	r.alongside = "./no-such-program"
	r.do(t.Context(), exitFailed)
	r.want(r.stdout.String(), `^FAIL ./no-such-program .*no such file or directory$`, `^ok   TestPassA`)
}

func TestNeeds(t *testing.T) {
	r := newTrial(t,
		test("TestPassPlain", 50, catalog.Needs{}), test("TestPassBreaks", 45, catalog.Needs{Breaks: true}), test("TestPassAudit", 40, catalog.Needs{Audit: true}),
		test("TestPassOpen", 30, catalog.Needs{NoPolicies: true, Nodes: 1}), test("TestPassNone", 20, catalog.Needs{None: true}),
		test("TestPassPlainToo", 15, catalog.Needs{}))
	r.testbeds = 1
	r.do(t.Context(), 0)
	want := `t1 up --nodes 3 --network-policies=true --audit
begin TestPassPlain on t1
end TestPassPlain
begin TestPassBreaks on t1
end TestPassBreaks
t1 down
t1 up --nodes 3 --network-policies=true --audit
begin TestPassAudit on t1
end TestPassAudit
begin TestPassNone on 
end TestPassNone
begin TestPassPlainToo on t1
end TestPassPlainToo
t1 down
t1 up --nodes 1 --network-policies=false
begin TestPassOpen on t1
end TestPassOpen
t1 down
`
	if r.calls_ != want {
		t.Errorf("calls:\n%s\nwant:\n%s", r.calls_, want)
	}
}

func TestOwnCluster(t *testing.T) {
	r := newTrial(t, test("TestPassB", 10, catalog.Needs{}), test("TestFails", 10, catalog.Needs{}), test("TestPassTestbed", 10, catalog.Needs{Testbed: true}),
		test("TestPassA", 30, catalog.Needs{}))
	r.own = filepath.Join(r.dir, "kubeconfig")
	r.do(t.Context(), exitFailed)
	want := "begin TestPassB on \nend TestPassB\nbegin TestFails on \nbegin TestPassA on \nend TestPassA\n"
	if r.calls_ != want {
		t.Errorf("calls:\n%s\nwant:\n%s", r.calls_, want)
	}
	r.want(r.stdout.String(), `skip +TestPassTestbed .*it needs a testbed`, `^3 passed, 1 failed, 1 skipped$`)
	r.wantNoSecrets()
}

func TestNothingMatches(t *testing.T) {
	r := newTrial(t, test("TestPassA", 10, catalog.Needs{}))
	r.pattern = "TestNone"
	if code, err := r.run(t.Context()); code != exitUnusable || err == nil || !strings.Contains(err.Error(), `no cluster test matches "TestNone"`) {
		t.Errorf("%d, %v", code, err)
	}
}

func TestAnotherRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || !strings.Contains(err.Error(), "another run of the cluster tests") {
		t.Errorf("a second run: %v", err)
	}
	release()
	release, err = lock(path)
	if err != nil {
		t.Fatal(err)
	}
	release()
}
