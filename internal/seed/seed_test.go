package seed_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/seed"
)

const set = "5e7"

// The test binary plays the seed scripts.
func TestMain(m *testing.M) {
	switch os.Getenv("SEED_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "script":
		script(os.Args[1:])
	}
}

func script(args []string) {
	switch args[0] {
	case "print":
		fmt.Println(strings.Join(args[1:], " "))
		fmt.Fprint(os.Stderr, "half a line with ", os.Getenv("ADMIN_PASSWORD"))
	case "fail":
		fmt.Fprintln(os.Stderr, "cannot reach", os.Getenv("DATABASE_URL"))
		os.Exit(3)
	case "sleep":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Println("asleep")
		<-stop
		fmt.Println("told to stop")
		os.Exit(143)
	}
}

// output is a writer that a test can read while it is written to.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func database(t *testing.T) string {
	t.Helper()
	url := pgtest.Start(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "001_init.sql"), []byte("SELECT 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := migrate.Migrator{URL: url, Log: slog.New(slog.DiscardHandler)}
	if _, err := m.Apply(t.Context(), set, []hook.Migration{{Source: "gateway", Dir: dir}}); err != nil {
		t.Fatal(err)
	}
	return url
}

func runner(url string, extra ...string) (seed.Runner, *output) {
	out := &output{}
	environ := append([]string{"SEED_TEST_ROLE=script", "DATABASE_URL=" + url, "ADMIN_USERNAME=admin", `ADMIN_PASSWORD=hun"ter 2`}, extra...)
	return seed.Runner{Environ: environ, Stdout: out, Stderr: out, Log: slog.New(slog.NewTextHandler(out, nil))}, out
}

func spec(commands ...[]string) hook.SeedSpec {
	s := hook.SeedSpec{Set: set}
	for i, c := range commands {
		s.Seeds = append(s.Seeds, hook.Seed{Name: fmt.Sprint("seed", i+1), Command: append([]string{os.Args[0]}, c...)})
	}
	return s
}

func TestSeedsRunOnce(t *testing.T) {
	url := database(t)
	once := spec([]string{"print", "first", "$(ADMIN_USERNAME)", "$(ADMIN_PASSWORD)", "$$(ADMIN_USERNAME)", "$5"}, []string{"print", "second"})
	r, out := runner(url)
	ran, err := r.Run(t.Context(), once)
	if err != nil || !ran {
		t.Fatal(ran, err)
	}
	if !strings.Contains(out.String(), "first admin *** $(ADMIN_USERNAME) $5\n") {
		t.Errorf("the first command's output is missing or shows the password:\n%s", out)
	}
	if !strings.Contains(out.String(), "half a line with ***\n") || strings.Contains(out.String(), "ter 2") {
		t.Errorf("an unfinished line is missing or shows the password:\n%s", out)
	}
	if strings.Index(out.String(), "first") > strings.Index(out.String(), "second") {
		t.Errorf("the seeds ran out of order:\n%s", out)
	}

	for name, c := range map[string]struct {
		spec hook.SeedSpec
		env  []string
		want bool
	}{
		"the same again":   {once, nil, false},
		"another password": {once, []string{"ADMIN_PASSWORD=changed"}, false},
		"another address": {hook.SeedSpec{Set: set, Seeds: once.Seeds,
			Inputs: map[string]string{"CP_SERVICE_URL": "http://nap-cp:3000"}}, nil, true},
		"another command": {spec([]string{"print", "third"}), nil, true},
		"fewer seeds":     {hook.SeedSpec{Set: set, Seeds: once.Seeds[:1]}, nil, true},
	} {
		r, _ := runner(url, c.env...)
		if ran, err := r.Run(t.Context(), c.spec); err != nil || ran != c.want {
			t.Errorf("%s: ran %v, want %v, %v", name, ran, c.want, err)
		}
	}
}

func TestFailedSeed(t *testing.T) {
	url := database(t)
	failing := spec([]string{"print", "first"}, []string{"fail"}, []string{"print", "third"})
	r, out := runner(url)
	_, err := r.Run(t.Context(), failing)
	if hook.CodeOf(err) != hook.Unexpected || !strings.Contains(err.Error(), `seed seed2 failed: exit status 3; the last it said was "cannot reach ***"`) {
		t.Errorf("%v", err)
	}
	if strings.Contains(out.String(), "third") {
		t.Error("the seed after the failed one ran")
	}
	if strings.Contains(out.String(), url) {
		t.Errorf("the database's URL is shown:\n%s", out)
	}
	// The next try runs all of them, since nothing was recorded.
	failing.Seeds[1].Command[1] = "print"
	if ran, err := r.Run(t.Context(), failing); err != nil || !ran || !strings.Contains(out.String(), "third") {
		t.Errorf("ran %v, %v", ran, err)
	}
}

func TestSeedSpecThatCannotRun(t *testing.T) {
	r, _ := runner("postgresql://nap@127.0.0.1:1/nap")
	_, err := r.Run(t.Context(), spec([]string{"print", "$(ADMIN_DISPLAY_NAME)"}))
	if hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), "seed seed1: the environment has no variable ADMIN_DISPLAY_NAME") {
		t.Errorf("%v", err)
	}
}

func TestSeedWaitsForTheSet(t *testing.T) {
	r, _ := runner(pgtest.Start(t))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := r.Run(ctx, spec([]string{"print", "early"}))
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "the set is not recorded yet") {
		t.Errorf("%v", err)
	}
}

func TestSeedEndsWithTheMigrationsFailure(t *testing.T) {
	url := pgtest.Start(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "001_init.sql"), []byte("SELECT 1/0"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := migrate.Migrator{URL: url, Log: slog.New(slog.DiscardHandler)}
	if _, err := m.Apply(t.Context(), set, []hook.Migration{{Source: "gateway", Dir: dir}}); hook.CodeOf(err) != hook.MigrationFailed {
		t.Fatal(err)
	}
	r, out := runner(url)
	r.Patience = time.Millisecond
	_, err := r.Run(t.Context(), spec([]string{"print", "seeded"}))
	if hook.CodeOf(err) != hook.MigrationFailed || !strings.Contains(err.Error(), "division by zero") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if strings.Contains(out.String(), "seeded") {
		t.Errorf("a seed ran without a schema:\n%s", out)
	}
}

func TestSignalReachesTheSeed(t *testing.T) {
	r, out := runner(database(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx, spec([]string{"sleep"}))
		done <- hook.Stopped(ctx, err)
	}()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "asleep"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the seed did not start:\n%s", out)
		}
	}
	cancel()
	select {
	case err := <-done:
		if hook.CodeOf(err) != hook.Unexpected || !strings.Contains(err.Error(), "stopped by a signal") {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the seed does not end")
	}
	if !strings.Contains(out.String(), "told to stop") {
		t.Errorf("the seed did not hear SIGTERM:\n%s", out)
	}
}
