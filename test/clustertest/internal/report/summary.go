package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/schedule"
)

// Result is how a test went.
type Result struct {
	Name   string
	Worker string
	Took   time.Duration
	Cases  []Case
	// Reason says why it failed or was skipped, where its output does not.
	Reason string
}

// Failed says whether one of its cases did.
func (r Result) Failed() bool {
	return slices.ContainsFunc(r.Cases, func(c Case) bool { return c.Outcome == Failed })
}

// Unrun is the result of a test that did not run.
func Unrun(name, outcome, reason string) Result {
	return Result{Name: name, Cases: []Case{{Name: name, Outcome: outcome}}, Reason: reason}
}

// Count counts the cases of results by their outcome.
func Count(results []Result) map[string]int {
	counts := map[string]int{}
	for _, result := range results {
		for _, one := range result.Cases {
			counts[one.Outcome]++
		}
	}
	return counts
}

// Summary is what is printed in the end.
type Summary struct {
	Results []Result
	Times   []schedule.Times
	Took    time.Duration
	// Busy is which part of the processors' time was used meanwhile, from 0 to 1.
	Busy float64
	// NotCompared has a line for each comparison that an earlier test could not make.
	NotCompared []string
}

// Write writes the times per test, the longest first, then those per testbed, then a line with the counts.
func (s Summary) Write(to io.Writer) error {
	results := slices.Clone(s.Results)
	slices.SortStableFunc(results, func(a, b Result) int { return cmp.Compare(b.Took, a.Took) })
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nresult\ttest\tseconds\ton\t")
	for _, result := range results {
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%s\t%s\n", verdict(result), result.Name, result.Took.Seconds(), result.Worker, result.Reason)
	}
	fmt.Fprintln(table, "\ntestbed\ttests\trunning s\tup and down s\tidle s")
	for _, times := range s.Times {
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%.0f\t%.0f\n", times.Worker, times.Tests, times.Running.Seconds(), times.Beds.Seconds(), times.Idle.Seconds())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(s.NotCompared) > 0 {
		fmt.Fprintf(to, "\n%d not compared:\n%s", len(s.NotCompared), strings.Join(s.NotCompared, ""))
	}
	counts := Count(s.Results)
	_, err := fmt.Fprintf(to, "\nIn %s; the processors were %.0f %% busy.\n%d passed, %d failed, %d skipped\n",
		s.Took.Round(time.Second), 100*s.Busy, counts[Passed], counts[Failed], counts[Skipped])
	return err
}

func verdict(result Result) string {
	switch counts := Count([]Result{result}); {
	case counts[Failed] > 0:
		return "FAIL"
	case counts[Passed] == 0:
		return "skip"
	}
	return "ok"
}
