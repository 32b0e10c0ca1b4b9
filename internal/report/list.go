package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// List writes a table of checks.
func List(to io.Writer, checks []preflight.Check) error {
	table := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSEVERITY\tNEEDS\tTITLE")
	for _, check := range checks {
		var needs []string
		for _, need := range []struct {
			bit  preflight.Needs
			name string
		}{{preflight.Pods, "pods"}, {preflight.Outside, "network"}, {preflight.OptIn, "--with"}} {
			if check.Needs.Has(need.bit) {
				needs = append(needs, need.name)
			}
		}
		if len(needs) == 0 {
			needs = []string{"-"}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", check.ID, check.Severity, strings.Join(needs, ","), check.Title)
	}
	return table.Flush()
}
