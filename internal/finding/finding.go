// Package finding has the one type for what a person has to fix. Hooks refuse with it, and preflight reports it.
package finding

import (
	"errors"
	"fmt"
	"strings"
)

// ID names a kind of finding: a topic, a dot and a name, e.g. "storage.class". It is stable, never gets another
// meaning, and the documentation has an anchor of the same name.
type ID string

// Topic is the part of the ID before the dot.
func (id ID) Topic() string {
	topic, _, _ := strings.Cut(string(id), ".")
	return topic
}

// Severity is what a finding weighs.
type Severity uint8

const (
	// Unset leaves the severity to the program that reports the finding: a refusal of a hook is an Error.
	Unset Severity = iota
	// Note is worth knowing and nothing to fix, such as what could not be checked.
	Note
	// Warning lets the install continue.
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

// Finding is one thing that a person has to fix, or should know of. It never holds a secret.
type Finding struct {
	ID ID `json:"id"`
	// Object, Node and Value say where: an object of the cluster or of the release, e.g. "Service nap/nap-cp", a
	// node, and the chart value to change. Each may be empty.
	Object string `json:"object"`
	Node   string `json:"node"`
	Value  string `json:"value"`
	// Found is what is wrong, in one line.
	Found string `json:"found"`
	// Why is what goes wrong because of it. It is empty where that is obvious.
	Why string `json:"why"`
	// Fix is what to do, with the command or the value to set.
	Fix      string   `json:"fix"`
	Severity Severity `json:"severity"`
}

// Sentence is the finding in one sentence: what was found, why it matters, and what to do.
func (f Finding) Sentence() string {
	switch {
	case f.Why == "" && f.Fix == "":
		return f.Found
	case f.Why == "":
		return f.Found + ": " + f.Fix
	case f.Fix == "":
		return f.Found + ": " + f.Why
	}
	return f.Found + ": " + f.Why + "; " + f.Fix
}

// Texts are all texts of the finding, to be changed in place.
func (f *Finding) Texts() []*string {
	return []*string{&f.Object, &f.Node, &f.Value, &f.Found, &f.Why, &f.Fix}
}

// List is findings as an error.
type List []Finding

// Error is one sentence on all of them, each with its ID.
func (l List) Error() string {
	if len(l) == 1 {
		return l[0].line()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d things must be changed first: ", len(l))
	for i, f := range l {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "(%d) %s", i+1, f.line())
	}
	return b.String()
}

// Lines are the findings, one line each, with its ID.
func (l List) Lines() []string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.line()
	}
	return lines
}

// IDs are those of the findings.
func (l List) IDs() []string {
	var ids []string
	for _, f := range l {
		ids = append(ids, string(f.ID))
	}
	return ids
}

func (f Finding) line() string {
	if f.ID == "" {
		return f.Sentence()
	}
	return fmt.Sprintf("%s [%s]", f.Sentence(), f.ID)
}

// Of are the findings that an error is about, nil where it is about none.
func Of(err error) List {
	var list List
	errors.As(err, &list)
	return list
}
