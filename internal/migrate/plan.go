package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/platform"
)

// Plan says what a run would do.
type Plan struct {
	// Pending are the files to apply, in order.
	Pending []File
	// Applied counts the files that the ledgers already hold.
	Applied int
	// Ahead are ledger ids without a file: a newer release has been here.
	Ahead []string
}

// ledger is the set of ids that one ledger holds.
type ledger map[string]bool

// readLedgers reads the ledger of every source once. A ledger that does not exist is empty.
func readLedgers(ctx context.Context, conn *pgx.Conn, files []File) (map[string]ledger, error) {
	ledgers := map[string]ledger{}
	for _, f := range files {
		name := f.Source.Ledger()
		if ledgers[name] != nil {
			continue
		}
		l, err := readLedger(ctx, conn, f.Source)
		if err != nil {
			return nil, fmt.Errorf("read the ledger %s: %w", name, err)
		}
		ledgers[name] = l
	}
	return ledgers, nil
}

func readLedger(ctx context.Context, conn *pgx.Conn, source platform.MigrationSource) (ledger, error) {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", source.Ledger()).Scan(&exists); err != nil {
		return nil, err
	}
	l := ledger{}
	if !exists {
		return l, nil
	}
	rows, err := conn.Query(ctx, "SELECT id FROM "+source.Ledger())
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, id := range ids {
		l[id] = true
	}
	return l, err
}

// makePlan compares the files with the ledgers. It only reads.
func makePlan(ctx context.Context, conn *pgx.Conn, files []File) (Plan, error) {
	ledgers, err := readLedgers(ctx, conn, files)
	if err != nil {
		return Plan{}, err
	}
	return compare(ledgers, files), nil
}

func compare(ledgers map[string]ledger, files []File) Plan {
	var plan Plan
	known := map[string]ledger{}
	sources := map[string]platform.MigrationSource{}
	for _, f := range files {
		name := f.Source.Ledger()
		if known[name] == nil {
			known[name] = ledger{}
		}
		known[name][f.ID] = true
		sources[f.Source.Name] = f.Source
		if ledgers[name][f.ID] {
			plan.Applied++
		} else {
			plan.Pending = append(plan.Pending, f)
		}
	}
	for name, l := range ledgers {
		for id := range l {
			owner, ok := ownerOf(name, id)
			if _, planned := sources[owner]; ok && planned && !known[name][id] && !platform.SquashedID(id) {
				plan.Ahead = append(plan.Ahead, name+" "+id)
			}
		}
	}
	slices.Sort(plan.Ahead)
	return plan
}

// ownerOf finds the source that an id belongs to: of those that share the ledger, the one with the
// longest prefix that fits.
func ownerOf(ledgerName, id string) (string, bool) {
	owner, longest := "", -1
	for _, s := range platform.MigrationSources() {
		if s.Ledger() == ledgerName && strings.HasPrefix(id, s.IDPrefix) && len(s.IDPrefix) > longest {
			owner, longest = s.Name, len(s.IDPrefix)
		}
	}
	return owner, longest >= 0
}

// WriteTable writes the plan for people.
func (p Plan) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(p.Pending) > 0 {
		fmt.Fprintln(t, "SOURCE\tFILE\tLEDGER\tID")
	}
	for _, f := range p.Pending {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Source.Name, filepath.Base(f.Path), f.Source.Ledger(), f.ID)
	}
	err := t.Flush()
	_, err2 := fmt.Fprintf(w, "%d to apply, %d applied before\n", len(p.Pending), p.Applied)
	if len(p.Ahead) > 0 {
		_, err3 := fmt.Fprintf(w, "in the ledgers without a file here: %s\n", strings.Join(p.Ahead, ", "))
		err2 = errors.Join(err2, err3)
	}
	return errors.Join(err, err2)
}

// WriteJSON writes the plan for programs.
func (p Plan) WriteJSON(w io.Writer) error {
	type step struct {
		Source string `json:"source"`
		File   string `json:"file"`
		Ledger string `json:"ledger"`
		ID     string `json:"id"`
	}
	out := struct {
		Pending []step   `json:"pending"`
		Applied int      `json:"applied"`
		Ahead   []string `json:"ahead"`
	}{Pending: []step{}, Applied: p.Applied, Ahead: append([]string{}, p.Ahead...)}
	for _, f := range p.Pending {
		out.Pending = append(out.Pending, step{f.Source.Name, filepath.Base(f.Path), f.Source.Ledger(), f.ID})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
