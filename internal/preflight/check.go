// Package preflight says before an install what would fail, and proves it.
//
// A Check is a small value. The Runner decides which apply, runs them side by side, and hands the results to a Sink
// in the order of the plan as soon as they are there.
package preflight

import (
	"context"
	"fmt"
	"strings"
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

// Severity is what a finding weighs.
type Severity uint8

const (
	// Unset takes the check's own severity.
	Unset Severity = iota
	// Note is worth knowing and nothing to mend: what could not be proved, say.
	Note
	// Warning lets the install go on.
	Warning
	// Error means that the install, or the platform after it, fails.
	Error
)

// String is the word for the severity in reports.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "unset"
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *Severity) UnmarshalText(text []byte) error {
	for _, known := range []Severity{Unset, Note, Warning, Error} {
		if string(text) == known.String() {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("severity %q is none of note, warning and error", text)
}

// Finding is one thing that is wrong. It never holds a secret.
type Finding struct {
	// Object, Node and Value say where: an object of the cluster or of the release, e.g. "Service nap/nap-cp", a
	// node, and the chart value to change. Each may be empty.
	Object string `json:"object"`
	Node   string `json:"node"`
	Value  string `json:"value"`
	// Cause is what is wrong, in one line.
	Cause string `json:"cause"`
	// Why is what goes wrong because of it.
	Why string `json:"why"`
	// Fix is what to do, with the command or value to set.
	Fix      string   `json:"fix"`
	Severity Severity `json:"severity"`
}

// texts are all of them that a check wrote.
func (f *Finding) texts() []*string {
	return []*string{&f.Object, &f.Node, &f.Value, &f.Cause, &f.Why, &f.Fix}
}
