package preflight_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/preflight"
)

type recorder struct {
	plan    []string
	results []preflight.Result
	end     preflight.Summary
}

func (r *recorder) Plan(checks []preflight.Check) {
	for _, check := range checks {
		r.plan = append(r.plan, check.ID)
	}
}
func (r *recorder) Running([]string)               {}
func (r *recorder) Result(result preflight.Result) { r.results = append(r.results, result) }
func (r *recorder) End(summary preflight.Summary)  { r.end = summary }

func passes(context.Context, *preflight.Subject) ([]preflight.Finding, error) { return nil, nil }

func finds(severity preflight.Severity) func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
	return func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
		return []preflight.Finding{{Found: "note", Severity: preflight.Note}, {Found: "found", Severity: severity}}, nil
	}
}

// foundBy is what finds leaves of a check with an ID: the heavier finding first.
func foundBy(id finding.ID, severity preflight.Severity) []preflight.Finding {
	return []preflight.Finding{{ID: id, Found: "found", Severity: severity}, {ID: id, Found: "note", Severity: preflight.Note}}
}

func run(ctx context.Context, options preflight.Options, checks ...preflight.Check) *recorder {
	r := &recorder{}
	preflight.Run(ctx, &preflight.Subject{Options: options}, checks, r)
	return r
}

func TestRun(t *testing.T) {
	got := run(t.Context(), preflight.Options{NoPods: true},
		preflight.Check{ID: "a.pass", Title: "passes", Run: passes},
		preflight.Check{ID: "a.note", Severity: preflight.Error, Run: finds(preflight.Note)},
		preflight.Check{ID: "a.warns", Severity: preflight.Error, Run: finds(preflight.Warning)},
		preflight.Check{ID: "b.fails", Severity: preflight.Error, Run: finds(preflight.Unset)},
		preflight.Check{ID: "b.pods", Needs: preflight.Pods},
		preflight.Check{ID: "b.cluster", Needs: preflight.Cluster},
		preflight.Check{ID: "b.costly", Needs: preflight.OptIn},
		preflight.Check{ID: "b.off", Applies: func(*preflight.Subject) (bool, string) { return false, "the module is off" }},
		preflight.Check{ID: "c.broken", Run: func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			return nil, errors.New("no\nanswer")
		}},
	)
	want := []preflight.Result{
		{ID: "a.pass", Title: "passes", Status: preflight.Passed},
		{ID: "a.note", Status: preflight.Passed, Findings: []preflight.Finding{
			{ID: "a.note", Found: "note", Severity: preflight.Note}, {ID: "a.note", Found: "found", Severity: preflight.Note},
		}},
		{ID: "a.warns", Status: preflight.Warned, Findings: foundBy("a.warns", preflight.Warning)},
		{ID: "b.fails", Status: preflight.Failed, Findings: foundBy("b.fails", preflight.Error)},
		{ID: "b.pods", Status: preflight.Skipped, Reason: "it starts pods, and --no-pods is set"},
		{ID: "b.cluster", Status: preflight.Skipped, Reason: "there is no cluster"},
		{ID: "b.costly", Status: preflight.Skipped, Reason: "it costs money: ask for it with --with=b.costly"},
		{ID: "b.off", Status: preflight.Skipped, Reason: "the module is off"},
		{ID: "c.broken", Status: preflight.Unproved, Reason: "no answer"},
	}
	if diff := cmp.Diff(want, got.results, cmpopts.IgnoreFields(preflight.Result{}, "Duration", "Attempts")); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if want := (preflight.Summary{Passed: 2, Warned: 1, Failed: 1, Skipped: 4, Unproved: 1}); !cmp.Equal(want, got.end, cmpopts.IgnoreFields(want, "Duration")) {
		t.Errorf("summary = %+v, want %+v", got.end, want)
	}
}

// Anyone who can write an event or a registry's answer must not reach the terminal of who runs preflight.
func TestTextFromTheClusterIsCleaned(t *testing.T) {
	const hostile, clean = "\x1b[2J\x1b[32mAll checks passed.\u202e", `^[[2J^[[32mAll checks passed.\u202e`
	got := run(t.Context(), preflight.Options{},
		preflight.Check{ID: "a.finds", Run: func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			return []preflight.Finding{{
				Object: hostile, Node: hostile, Value: hostile, Found: hostile, Why: hostile, Fix: hostile,
			}}, nil
		}},
		preflight.Check{ID: "a.fails", Run: func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			return nil, errors.New(hostile)
		}},
		preflight.Check{ID: "a.off", Applies: func(*preflight.Subject) (bool, string) { return false, hostile }},
	)
	for _, text := range got.results[0].Findings[0].Texts() {
		if *text != clean {
			t.Errorf("a finding says %q, want %q", *text, clean)
		}
	}
	for _, result := range got.results[1:] {
		if result.Reason != clean {
			t.Errorf("%s says %q, want %q", result.ID, result.Reason, clean)
		}
	}
}

func TestResultsComeInTheOrderOfThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration) func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			return func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
				time.Sleep(d)
				return nil, nil
			}
		}
		start := time.Now()
		got := run(t.Context(), preflight.Options{},
			preflight.Check{ID: "a.slow", Run: slow(3 * time.Second)},
			preflight.Check{ID: "b.slow", Run: slow(2 * time.Second)},
			preflight.Check{ID: "c.quick", Run: slow(time.Second)},
		)
		var ids []string
		for _, result := range got.results {
			ids = append(ids, result.ID)
		}
		if !slices.Equal(ids, got.plan) {
			t.Errorf("results came as %v, want %v", ids, got.plan)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("three checks side by side took %s, want that of the slowest", took)
		}
	})
}

func TestAFailedCheckIsRepeatedWhileThereIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		attempt := func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			if tries.Add(1) < 3 {
				return []preflight.Finding{{Found: "not yet"}}, nil
			}
			return nil, nil
		}
		fixes := preflight.Check{ID: "a.fixes", Severity: preflight.Error, Run: attempt}
		warns := preflight.Check{ID: "a.warns", Run: finds(preflight.Warning)}
		got := run(t.Context(), preflight.Options{Wait: time.Minute}, fixes, warns)
		if r := got.results[0]; r.Status != preflight.Passed || r.Attempts != 3 {
			t.Errorf("result = %+v, want a pass at the third attempt", r)
		}
		if r := got.results[1]; r.Attempts != 1 {
			t.Errorf("a warning was repeated: %+v", r)
		}
		tries.Store(-100)
		got = run(t.Context(), preflight.Options{Wait: 10 * time.Second}, fixes)
		if r := got.results[0]; r.Status != preflight.Failed || r.Duration > 10*time.Second {
			t.Errorf("result = %+v, want a failure within the 10 seconds", r)
		}
	})
}

func TestTimeouts(t *testing.T) {
	hangs := preflight.Check{ID: "a.hangs", Run: func(ctx context.Context, _ *preflight.Subject) ([]preflight.Finding, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	tests := map[string]struct {
		ctx     func(context.Context) (context.Context, context.CancelFunc)
		options preflight.Options
		reason  string
		summary preflight.Summary
	}{
		"of one check": {options: preflight.Options{CheckTimeout: time.Second},
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, reason: "longer than 1s"},
		"of all": {ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
			reason: "--timeout", summary: preflight.Summary{TimedOut: true}},
		"interrupted": {ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, reason: "interrupted", summary: preflight.Summary{Interrupted: true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := test.ctx(t.Context())
				defer cancel()
				got := run(ctx, test.options, hangs)
				if r := got.results[0]; r.Status != preflight.Unproved || !strings.Contains(r.Reason, test.reason) {
					t.Errorf("result = %+v, want it not carried out because of %q", r, test.reason)
				}
				if got.end.TimedOut != test.summary.TimedOut || got.end.Interrupted != test.summary.Interrupted {
					t.Errorf("summary = %+v, want %+v", got.end, test.summary)
				}
			})
		})
	}
}

func TestSelect(t *testing.T) {
	all := []preflight.Check{{ID: "storage.rwx"}, {ID: "storage.rwo"}, {ID: "nodeport.free"}}
	tests := map[string]struct {
		options preflight.Options
		want    []string
		err     string
	}{
		"all":          {want: []string{"storage.rwx", "storage.rwo", "nodeport.free"}},
		"a topic":      {options: preflight.Options{Only: []string{"storage"}}, want: []string{"storage.rwx", "storage.rwo"}},
		"without one":  {options: preflight.Options{Skip: []string{"storage.rwo"}}, want: []string{"storage.rwx", "nodeport.free"}},
		"both":         {options: preflight.Options{Only: []string{"storage"}, Skip: []string{"storage.rwo"}}, want: []string{"storage.rwx"}},
		"unknown":      {options: preflight.Options{Skip: []string{"storge"}}, err: `"storge"`},
		"nothing left": {options: preflight.Options{Only: []string{"storage"}, Skip: []string{"storage"}}, err: "leave no check"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			selected, err := preflight.Select(all, test.options)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error = %v, want one with %s", err, test.err)
				}
				return
			}
			var ids []string
			for _, check := range selected {
				ids = append(ids, check.ID)
			}
			if !slices.Equal(ids, test.want) {
				t.Errorf("selected %v (%v), want %v", ids, err, test.want)
			}
		})
	}
}
