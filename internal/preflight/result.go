package preflight

import "time"

// Status is how a check ended.
type Status string

// The statuses. Skipped has a reason; Unproved says that the check itself could not be carried out.
const (
	Passed   Status = "pass"
	Warned   Status = "warning"
	Failed   Status = "fail"
	Skipped  Status = "skip"
	Unproved Status = "error"
)

// Result is how one check ended.
type Result struct {
	ID, Title string
	Status    Status
	Findings  []Finding
	Reason    string
	Duration  time.Duration
	// Attempts is more than one where a failed check was repeated.
	Attempts int
}

// Summary counts results by status.
type Summary struct {
	Passed   int `json:"passed"`
	Warned   int `json:"warnings"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
	Unproved int `json:"errors"`
	// TimedOut says that the time for everything ended first.
	TimedOut bool `json:"timedOut"`
	// Interrupted says that the person ended it.
	Interrupted bool          `json:"interrupted"`
	Duration    time.Duration `json:"-"`
}

func (s *Summary) count(status Status) {
	switch status {
	case Passed:
		s.Passed++
	case Warned:
		s.Warned++
	case Failed:
		s.Failed++
	case Skipped:
		s.Skipped++
	case Unproved:
		s.Unproved++
	}
}

// Sink is told what happens, from one goroutine at a time.
type Sink interface {
	// Plan comes first, with every check in the order in which their results come.
	Plan([]Check)
	// Running comes when the set of checks that run now has changed.
	Running(ids []string)
	// Result comes once for each check, in the order of the plan.
	Result(Result)
	// End comes last.
	End(Summary)
}

// ExitCode is how a command that did nothing else ends. Of several reasons it tells the one to deal with first.
func (s Summary) ExitCode(strict bool) int {
	switch {
	case s.Interrupted:
		return 130
	case s.TimedOut:
		return 124
	case s.Failed > 0:
		return 2
	case s.Unproved > 0:
		return 1
	case s.Warned > 0 && strict:
		return 3
	}
	return 0
}
