// Package fromhook turns what the chart's own hooks would refuse into findings, so that a rule stands in one place.
package fromhook

import (
	"errors"
	"regexp"
	"strings"

	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/preflight"
)

var setting = regexp.MustCompile(`\bglobal(\.[a-zA-Z]+)+`)

// Findings are the guard.Problems among errs, each with object as its place. The other errors say that the rule could
// not be tried.
func Findings(errs []error, object string) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	var others []error
	for _, err := range errs {
		var problem guard.Problem
		if !errors.As(err, &problem) {
			others = append(others, err)
			continue
		}
		cause, fix := split(problem.Error())
		findings = append(findings, preflight.Finding{
			Object: object, Value: setting.FindString(problem.Error()), Cause: cause, Fix: fix,
			Why: "a hook refuses it before anything is changed",
		})
	}
	return findings, errors.Join(others...)
}

// split takes "what is wrong: what to do" apart. Where the first part has colons itself, a semicolon stands between.
func split(sentence string) (cause, fix string) {
	if cause, fix, found := strings.Cut(sentence, "; "); found {
		return cause, fix
	}
	if i := strings.LastIndex(sentence, ": "); i >= 0 {
		return sentence[:i], sentence[i+2:]
	}
	return sentence, "change the value that it speaks of"
}
