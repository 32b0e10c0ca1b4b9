package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/test/clustertest/internal/report"
	"github.com/neutree-ai/packaging/test/clustertest/internal/schedule"
)

func TestCases(t *testing.T) {
	const output = `=== RUN   TestA
=== RUN   TestA/one
    a_test.go:1: fine
=== RUN   TestA/two
=== RUN   TestA/two/deep
--- FAIL: TestA (1.50s)
    --- PASS: TestA/one (0.50s)
    --- FAIL: TestA/two (1.00s)
        --- PASS: TestA/two/deep (0.25s)
=== RUN   TestB
    b_test.go:1: not on this cluster
--- SKIP: TestB (0.00s)
=== RUN   TestC
=== RUN   TestC/one
panic: oops

goroutine 1 [running]:
main.main()
`
	cases, err := report.Cases(t.Context(), []byte(output))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, one := range cases {
		got = append(got, fmt.Sprintf("%s %s %s", one.Name, one.Outcome, one.Took))
	}
	want := []string{
		"TestA/one pass 500ms", "TestA/two fail 1s", "TestA/two/deep pass 250ms", "TestB skip 0s", "TestC/one fail 0s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cases:\n%s", diff)
	}
	if !strings.Contains(cases[4].Output, "panic: oops") {
		t.Errorf("the panic is not part of its case: %q", cases[4].Output)
	}
}

func TestSummary(t *testing.T) {
	one := func(outcomes ...string) []report.Case {
		var cases []report.Case
		for _, outcome := range outcomes {
			cases = append(cases, report.Case{Name: "Test", Outcome: outcome})
		}
		return cases
	}
	summary := report.Summary{
		Results: []report.Result{
			{Name: "TestShort", Worker: "t2", Took: 10 * time.Second, Cases: one("pass", "skip")},
			{Name: "TestLong", Worker: "t1", Took: 100 * time.Second, Cases: one("pass", "fail"), Reason: "it hung"},
			report.Unrun("TestOther", report.Skipped, "it needs a testbed"),
		},
		Times: []schedule.Times{{Worker: "t1", Tests: 1, Running: 100 * time.Second, Beds: 20 * time.Second, Idle: 5 * time.Second}},
		Took:  125 * time.Second, Busy: 0.876,
	}
	var out bytes.Buffer
	if err := summary.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := `
result  test       seconds  on  
FAIL    TestLong   100      t1  it hung
ok      TestShort  10       t2  
skip    TestOther  0            it needs a testbed

testbed  tests  running s  up and down s  idle s
t1       1      100        20             5

In 2m5s; the processors were 88 % busy.
2 passed, 1 failed, 2 skipped
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestScreen(t *testing.T) {
	progress, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	var results bytes.Buffer
	screen := report.NewScreen(&results, progress, 2)
	screen.Busy("t1", "TestA")
	for range 10 {
		screen.Tick()
	}
	screen.Say("a line")
	screen.Ended(report.Result{Name: "TestA", Worker: "t1", Took: time.Second, Cases: []report.Case{{Name: "TestA", Outcome: report.Passed}}}, "")
	screen.Ended(report.Result{Name: "TestB", Cases: []report.Case{{Name: "TestB", Outcome: report.Failed}}, Reason: "why"}, "all\nof it\n")
	screen.End()
	text, err := os.ReadFile(progress.Name())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("[ 0:00] t1: TestA\na line\n", string(text)); diff != "" {
		t.Errorf("progress in a file, of less than a minute:\n%s", diff)
	}
	if diff := cmp.Diff("ok   TestA (1 s, t1)\n=== TestB\nall\nof it\nFAIL TestB (0 s, no testbed): why\n", results.String()); diff != "" {
		t.Errorf("results:\n%s", diff)
	}
}
