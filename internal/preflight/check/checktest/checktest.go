// Package checktest has what tests of checks share.
package checktest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Line writes a finding as one line: severity, cause and fix. Every finding must have a cause; what is wrong must have
// a reason and a way out too.
func Line(t *testing.T, finding preflight.Finding) string {
	t.Helper()
	if finding.Found == "" || finding.Severity != preflight.Note && (finding.Why == "" || finding.Fix == "") {
		t.Errorf("a finding does not say enough: %+v", finding)
	}
	line := finding.Found
	if finding.Severity != preflight.Unset {
		line = fmt.Sprintf("%s: %s", finding.Severity, line)
	}
	if finding.Fix != "" {
		line += " -> " + finding.Fix
	}
	return line
}

// Want compares findings with what each of them must hold, in their order. No words mean no findings.
func Want(t *testing.T, findings []preflight.Finding, words ...string) {
	t.Helper()
	var lines []string
	for _, finding := range findings {
		lines = append(lines, Line(t, finding))
	}
	if len(lines) != len(words) {
		t.Fatalf("%d findings, want %d:\n%s", len(lines), len(words), strings.Join(lines, "\n"))
	}
	for i, want := range words {
		if !strings.Contains(lines[i], want) {
			t.Errorf("finding %d:\n%s\ndoes not hold\n%s", i+1, lines[i], want)
		}
	}
}

// Subject is one of an API double.
func Subject(t *testing.T, api *kubetest.Server, set *requirement.Set) *preflight.Subject {
	t.Helper()
	view, err := cluster.New(api.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &preflight.Subject{Requirements: set, Cluster: view}
}

// Run runs the check of an ID and stops the test if it can't be carried out.
func Run(t *testing.T, checks []preflight.Check, id string, subject *preflight.Subject) []preflight.Finding {
	t.Helper()
	i := slices.IndexFunc(checks, func(c preflight.Check) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("there is no check %s", id)
	}
	findings, err := checks[i].Run(t.Context(), subject)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return findings
}
