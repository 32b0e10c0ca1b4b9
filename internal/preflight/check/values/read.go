// Package values checks what was asked for, before any of it is held against the cluster.
package values

import (
	"context"
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
	}}
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
