// Package values checks what was asked for, before any of it is held against the cluster.
package values

import (
	"context"
	"fmt"
	"strings"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// Checks are those of the topic.
func Checks() []preflight.Check {
	return []preflight.Check{{
		ID:       "values.accepted",
		Title:    "The chart has no objection to this cluster",
		Severity: preflight.Error,
		Run:      accepted,
	}, {
		ID:       "values.nulls",
		Title:    "Values set to null take their defaults away",
		Severity: preflight.Warning,
		Run:      nulls,
	}}
}

// nulls reports the nulls that Helm drops before any template sees them, so that no template can refuse them.
func nulls(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	for _, path := range s.Requirements.KeptNulls {
		fix := "set " + path + " to the value that you want, or remove the line"
		if strings.Contains(strings.ToLower(path), "resources.") {
			fix = fmt.Sprintf(`set %s to "" for none`, path)
		}
		findings = append(findings, preflight.Finding{
			Value: path,
			Found: fmt.Sprintf("%s is null, and keeps its default all the same", path),
			Why:   "Helm drops a null under global before the chart sees it",
			Fix:   fix,
		})
	}
	return findings, nil
}

// accepted reports what the chart itself found in the cluster while it was rendered. Values that no cluster would do
// for end the command before any check.
func accepted(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	refusal := s.Requirements.Refusal
	if refusal == "" {
		return nil, nil
	}
	var findings []preflight.Finding
	for line := range strings.Lines(refusal) {
		if reason, found := strings.CutPrefix(strings.TrimSpace(line), "- "); found {
			findings = append(findings, finding(reason))
		}
	}
	if len(findings) == 0 {
		findings = append(findings, finding(strings.Join(strings.Fields(refusal), " ")))
	}
	return findings, nil
}

// finding splits what is wrong from what to do, as the chart's messages have both.
func finding(reason string) preflight.Finding {
	cause, fix, found := strings.Cut(reason, ": ")
	if !found {
		cause, fix = reason, ""
	}
	return preflight.Finding{Found: cause, Fix: fix, Why: "Helm refuses the install before anything is made"}
}
