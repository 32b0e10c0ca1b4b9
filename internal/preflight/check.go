// Package preflight says before an install what would fail, and proves it.
//
// A Check is a small value. The Runner decides which apply, runs them side by side, and hands the results to a Sink
// in the order of the plan as soon as they are there.
package preflight

import (
	"context"
	"strings"

	"github.com/neutree-ai/packaging/internal/finding"
)

// Check is one thing that an install depends on.
type Check struct {
	// ID is stable: a topic, a dot, and what is checked, e.g. "storage.rwx-locks". The documentation has an anchor
	// of the same name.
	ID string
	// Title says what is true when the check passes.
	Title string
	Needs Needs
	// Severity is what a finding weighs unless it says otherwise.
	Severity Severity
	// Applies says whether there is anything to check, and if not, why. Nil stands for always.
	Applies func(*Subject) (bool, string)
	// Run returns what is wrong. No finding heavier than a Note is a pass. An error says that the check itself could
	// not be carried out.
	Run func(context.Context, *Subject) ([]Finding, error)
}

// Topic is the part of the ID before the dot.
func (c Check) Topic() string {
	topic, _, _ := strings.Cut(c.ID, ".")
	return topic
}

// Needs is what a check uses.
type Needs uint8

const (
	// Cluster is set where the API server is asked.
	Cluster Needs = 1 << iota
	// Pods is set where probe pods, claims or Services are made for a while.
	Pods
	// Outside is set where it connects from where the command runs to something beside the API server.
	Outside
	// OptIn is set where it costs money: it runs only when asked for.
	OptIn
)

// Has says whether all of other is needed.
func (n Needs) Has(other Needs) bool { return n&other == other }

// Finding is what a check finds. One without an ID gets that of the check.
type Finding = finding.Finding

// Severity is what a finding weighs.
type Severity = finding.Severity

// The severities.
const (
	Unset   = finding.Unset
	Note    = finding.Note
	Warning = finding.Warning
	Error   = finding.Error
)
