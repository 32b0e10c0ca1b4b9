//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
)

// upgradeFigures are what one upgrade cost those who use the platform meanwhile.
type upgradeFigures struct {
	Case     string             `json:"case"`
	Seconds  float64            `json:"seconds"`
	Restarts int                `json:"restarts"`
	Services map[string]service `json:"services"`
}

type service struct {
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	Gap      float64 `json:"longestGapSeconds"`
}

// BenchmarkUpgrade measures upgrades of every kind while users ask: seconds without a good answer, requests lost,
// pods replaced. It prints a table and writes it as JSON to the file that BENCH_JSON names.
func BenchmarkUpgrade(b *testing.B) {
	env := newEnvironment(b)
	r := env.release(env.helm4, "neutree", "nap")
	b.Cleanup(func() { r.purge(b) })
	r.mustUpgrade(b, "--wait")
	addresses := r.expose(b)

	image := func(name, tag string) []string {
		return []string{"--set", "global.images." + name + ".tag=" + tag}
	}
	all := append(image("controlPlane", "v0.3.0"), "--set", "controlPlane.cp.podAnnotations.bench=changed")
	for _, name := range []string{"gateway", "scheduler", "skills", "envRunner"} {
		all = append(all, image(name, "v0.2.1")...)
	}
	var table []upgradeFigures
	for _, c := range []struct {
		name   string
		args   []string
		failed bool
	}{
		{name: "nothing changed"},
		{name: "values only", args: []string{"--set", "controlPlane.cp.podAnnotations.bench=changed"}},
		{name: "new cp image, one migration", args: append(image("controlPlane", "v0.2.1"), "--set", "controlPlane.cp.podAnnotations.bench=changed")},
		{name: "failing migration", args: append(image("controlPlane", "v0.2.2-broken"), "--set", "controlPlane.cp.podAnnotations.bench=changed"), failed: true},
		{name: "new images of all, twelve migrations", args: all},
		{name: "a setting that restarts PostgreSQL", args: append(slices.Clone(all), "--set",
			"global.database.cnpg.maxConnections=310")},
	} {
		before := r.podIdentities(b)
		stop := probe(b, addresses)
		got := r.upgrade(b.Context(), append([]string{"--wait"}, c.args...)...)
		answered := stop()
		if failed := got.err != nil; failed != c.failed {
			r.dump(b)
			b.Fatalf("%s: %v after %s\n%s", c.name, got.err, got.took, got.output)
		}
		figures := upgradeFigures{Case: c.name, Seconds: got.took.Seconds(), Services: map[string]service{}}
		for pod := range r.podIdentities(b) {
			if _, kept := before[pod]; !kept {
				figures.Restarts++
			}
		}
		if diff := cmp.Diff(before, r.podIdentities(b)); c.failed && diff != "" {
			b.Errorf("%s: pods before and after:\n%s", c.name, diff)
		}
		for name, a := range answered {
			b.Logf("%s: %s: %s", c.name, name, a)
			figures.Services[name] = service{Requests: a.asked, Failed: a.failed, Gap: a.gap.Seconds()}
		}
		table = append(table, figures)
	}
	printFigures(os.Stdout, table)
	if err := keepFigures(os.Getenv("BENCH_JSON"), table); err != nil {
		b.Error(err)
	}
}

func printFigures(out io.Writer, table []upgradeFigures) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "upgrade\tseconds\tpods replaced")
	for _, p := range openServices {
		fmt.Fprintf(w, "\t%s failed\tgap s", p.service)
	}
	fmt.Fprintln(w)
	for _, row := range table {
		fmt.Fprintf(w, "%s\t%.1f\t%d", row.Case, row.Seconds, row.Restarts)
		for _, p := range openServices {
			s := row.Services[p.service]
			fmt.Fprintf(w, "\t%d of %d\t%.2f", s.Failed, s.Requests, s.Gap)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

func keepFigures(path string, table []upgradeFigures) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
