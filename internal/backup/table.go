package backup

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/neutree-ai/packaging/internal/plain"
)

// WriteTable writes the list for people.
func (l Listing) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(plain.Writer(w), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTIME\tCHART\tREVISION\tSCHEMA\tDATABASE\tSIZE\tAFS\tKIND\tREASON")
	for _, b := range l.Backups {
		afs := "no"
		if b.AFS {
			afs = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n",
			b.Name, b.Time.UTC().Format(time.RFC3339), b.Chart, b.Revision, b.Schema, Size(b.DatabaseBytes), Size(b.Bytes), afs,
			cmp.Or(b.Kind, KindOf(b.Name)), b.Reason)
	}
	return t.Flush()
}

// Warnings are what a reader of the list should know beside it.
func (l Listing) Warnings() []string {
	warnings := append([]string{}, l.Damaged...)
	if l.More > 0 {
		warnings = append(warnings, fmt.Sprintf("%d older backups are not listed", l.More))
	}
	return warnings
}
