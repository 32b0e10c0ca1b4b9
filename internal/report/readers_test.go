package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/report"
)

// What pipelines show of JUnit is what a reader of it, which is not ours, finds.
func TestReaderOfJUnit(t *testing.T) {
	suites, err := junit.Ingest([]byte(write(t, "junit", report.Look{})))
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[preflight.Status]junit.Status{
		preflight.Passed: junit.StatusPassed, preflight.Warned: junit.StatusPassed, preflight.Failed: junit.StatusFailed,
		preflight.Skipped: junit.StatusSkipped, preflight.Unproved: junit.StatusError,
	}
	want := map[string]junit.Status{}
	for _, result := range results {
		want[result.ID] = statuses[result.Status]
	}
	got := map[string]junit.Status{}
	for _, suite := range suites {
		for _, test := range suite.Tests {
			got[test.Name] = test.Status
			if test.Classname != "preflight."+suite.Name {
				t.Errorf("%s is of %s in suite %s", test.Name, test.Classname, suite.Name)
			}
			switch test.Name {
			case "storage.class":
				if test.Message != results[1].Findings[0].Found || test.Duration != 40*time.Millisecond || test.Error == nil || !strings.Contains(test.Error.Error(), `it has <no> NFS client & no "mount"`) {
					t.Errorf("%+v: %v", test, test.Error)
				}
			case "turn.reach":
				if test.Message != "no browser is wanted" {
					t.Errorf("%+v", test)
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

// SARIF is judged by the standard's own schema, and read by a reader of it that is not ours.
func TestReaderOfSARIF(t *testing.T) {
	written := write(t, "sarif", report.Look{})
	read, err := sarif.FromString(written)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(read); err != nil {
		t.Error(err)
	}
	if len(read.Runs) != 1 {
		t.Fatalf("%d runs", len(read.Runs))
	}
	run := read.Runs[0]
	rules := map[string]bool{}
	for _, rule := range run.Tool.Driver.Rules {
		rules[*rule.ID] = true
	}
	type one struct{ Rule, Level, Text string }
	var got []one
	for _, result := range run.Results {
		got = append(got, one{*result.RuleID, result.Level, *result.Message.Text})
		if !rules[*result.RuleID] {
			t.Errorf("no rule is called %s", *result.RuleID)
		}
	}
	var want []one
	for _, result := range results {
		for _, finding := range result.Findings {
			want = append(want, one{result.ID, finding.Severity.String(), finding.Found})
		}
	}
	if len(got) < len(want) {
		t.Errorf("%d results, want %d: %v", len(got), len(want), got)
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g.Rule == w.Rule && g.Level == w.Level && strings.Contains(g.Text, w.Text)
		}
		if !found {
			t.Errorf("no result %+v in %+v", w, got)
		}
	}
	// A schema that lets everything through would prove nothing.
	wrong, err := sarif.FromString(strings.Replace(written, `"level": "error"`, `"level": "dire"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(wrong); err == nil || !strings.Contains(err.Error(), "level") {
		t.Errorf("a level that the standard does not know: %v", err)
	}
}

// validate asks the schema. What may be left out the reader writes empty, where the schema has defaults for it.
func validate(read *sarif.Report) error {
	for _, run := range read.Runs {
		run.Language, run.Tool.Driver.Language, run.NewlineSequences = "en-US", "en-US", []string{"\n"}
	}
	return read.Validate()
}
