package backup

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/neutree-ai/packaging/internal/plain"
)

// DrillResult is what a drill found out about a backup.
type DrillResult struct {
	Backup string `json:"backup"`
	// Time is when the backup was made.
	Time time.Time `json:"time"`
	// Passed says that the backup is good. If it is not, Problems say why.
	Passed   bool     `json:"passed"`
	Problems []string `json:"problems,omitempty"`

	Tables        int    `json:"tables"`
	DatabaseBytes int64  `json:"databaseBytes"`
	Rows          string `json:"rows"`
	Credentials   string `json:"credentials"`
	Schema        string `json:"schema"`
	AFS           string `json:"afs,omitempty"`
	// RestoreSeconds is the time of pg_restore alone, Seconds that of the whole drill.
	RestoreSeconds float64 `json:"restoreSeconds"`
	Seconds        float64 `json:"seconds,omitempty"`
}

// ReadDrillResult reads what the Job of a drill left as its termination message.
func ReadDrillResult(message string) (DrillResult, error) {
	var r DrillResult
	if err := json.Unmarshal([]byte(message), &r); err != nil || r.Backup == "" {
		return r, fmt.Errorf("the Job of the drill left %q, which is no result", short(message))
	}
	return r, nil
}

// Verdict is the result in one word.
func (r DrillResult) Verdict() string {
	if r.Passed {
		return "passed"
	}
	return "failed"
}

// WriteReport writes the result for people.
func (r DrillResult) WriteReport(w io.Writer) error {
	t := tabwriter.NewWriter(plain.Writer(w), 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "backup\t%s of %s\n", r.Backup, r.Time.UTC().Format(time.RFC3339))
	if r.RestoreSeconds > 0 {
		fmt.Fprintf(t, "restored\t%d tables, %s of database, in %.1f s\n", r.Tables, Size(r.DatabaseBytes), r.RestoreSeconds)
	} else {
		fmt.Fprintf(t, "restored\tno\n")
	}
	fmt.Fprintf(t, "rows\t%s\n", r.Rows)
	fmt.Fprintf(t, "credentials\t%s\n", r.Credentials)
	fmt.Fprintf(t, "schema\t%s\n", r.Schema)
	fmt.Fprintf(t, "AFS's database\t%s\n", cmp.Or(r.AFS, "not checked"))
	fmt.Fprintf(t, "time\t%.0f s\n", r.Seconds)
	fmt.Fprintf(t, "result\t%s\n", r.Verdict())
	for _, problem := range r.Problems {
		fmt.Fprintf(t, "\t%s\n", problem)
	}
	return t.Flush()
}
