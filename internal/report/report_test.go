package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

var subject = report.Subject{
	Release: "neutree", Namespace: "nap", Chart: "neutree 0.1.0", Kubernetes: "v1.34.4", Tool: "0.1.0",
	Docs: "https://example.org/docs/preflight.md",
}

var results = []preflight.Result{
	{ID: "kubernetes.version", Title: "Kubernetes is one that the chart is made for", Status: preflight.Passed, Duration: 12 * time.Millisecond},
	{ID: "storage.class", Title: "Every class exists", Status: preflight.Failed, Duration: 40 * time.Millisecond, Findings: []preflight.Finding{
		{Object: "PersistentVolumeClaim nap/afs-controller-db", Value: "global.storage.afsController.storageClass", Found: `StorageClass "fast" does not exist`,
			Why: "the claim stays Pending, and with it the AFS controller", Fix: "set it to one of nfs, local", Severity: preflight.Error},
		{Node: "node2", Found: "it has <no> NFS client & no \"mount\"", Fix: "install one:\napt-get install nfs-common", Severity: preflight.Warning},
	}},
	{ID: "storage.snapshot", Title: "Snapshots can be taken", Status: preflight.Warned, Duration: time.Second, Findings: []preflight.Finding{
		{Found: "the driver of class nfs takes none", Severity: preflight.Warning}}},
	{ID: "turn.reach", Title: "The relay can be reached", Status: preflight.Skipped, Reason: "no browser is wanted"},
	{ID: "image.pull", Title: "Every node pulls every image", Status: preflight.Passed, Findings: []preflight.Finding{
		{Found: "2 of 50 nodes were asked", Severity: preflight.Note}}},
	{ID: "llm.codex", Title: "The model answers Codex", Status: preflight.Unproved, Reason: "the probe's pod did not start", Duration: 3 * time.Second},
}

func write(t *testing.T, format string, look report.Look) string {
	t.Helper()
	var out bytes.Buffer
	r, err := report.New(format, &out, subject, look)
	if err != nil {
		t.Fatal(err)
	}
	r.Plan(nil)
	for _, result := range results {
		r.Result(result)
	}
	r.End(preflight.Summary{Passed: 2, Warned: 1, Failed: 1, Skipped: 1, Unproved: 1, Duration: 4052 * time.Millisecond})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFormats(t *testing.T) {
	tests := map[string]struct {
		format string
		look   report.Look
	}{
		"text.golden":     {format: "text"},
		"terminal.golden": {format: "text", look: report.Look{Colour: true, Symbols: true}},
		"json.golden":     {format: "json"},
		"junit.golden":    {format: "junit"},
		"sarif.golden":    {format: "sarif"},
		"template.golden": {format: `go-template={{range .results}}{{.id | upper | trunc 7}} {{.status}} {{len .findings}}{{"\n"}}{{end}}{{.summary.failed}} of {{.release}}{{"\n"}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := write(t, test.format, test.look)
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s\nrun with -update if this is meant", name, diff)
			}
		})
	}
}

func TestMachinesReadJSON(t *testing.T) {
	var document report.Document
	if err := json.Unmarshal([]byte(write(t, "json", report.Look{})), &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Results) != len(results) || document.Results[1].Findings[0].Severity != preflight.Error {
		t.Errorf("%+v", document)
	}
}

func TestWrongOutput(t *testing.T) {
	tests := map[string]string{
		"yaml":                       `"yaml"`,
		"go-template":                "needs an argument",
		"go-template={{":             "read the template",
		"go-template={{env \"X\"}}":  `"env"`,
		"go-template-file=/no/where": "/no/where",
	}
	for format, want := range tests {
		if _, err := report.New(format, &bytes.Buffer{}, subject, report.Look{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--output=%s: %v, want an error with %s", format, err, want)
		}
	}
	r, err := report.New("go-template={{.nothing}}", &bytes.Buffer{}, subject, report.Look{})
	if err != nil {
		t.Fatal(err)
	}
	r.Plan(nil)
	r.End(preflight.Summary{})
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a template with an unknown field: %v", err)
	}
}

func TestProgressLeavesNothingOnTheLine(t *testing.T) {
	var screen bytes.Buffer
	p := report.NewProgress(&screen, 40)
	out := p.Writer(&screen)
	sink := report.Tee(p)
	sink.Plan(make([]preflight.Check, 3))
	sink.Running([]string{"storage.rwx-locks", "image.pull", "a-check-with-a-very-long-name"})
	for deadline := time.Now().Add(10 * time.Second); !shows(p, &screen, "storage.rwx-locks") && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := out.Write([]byte("result\n")); err != nil {
		t.Fatal(err)
	}
	sink.End(preflight.Summary{})
	lines := strings.Split(screen.String(), "\r\x1b[K")
	if last := lines[len(lines)-1]; strings.Contains(last, "storage") {
		t.Errorf("the screen ends with %q", last)
	}
	if !strings.Contains(screen.String(), "\r\x1b[Kresult\n") {
		t.Errorf("a result is not written on a clear line: %q", screen.String())
	}
	for _, line := range lines {
		if len(strings.TrimPrefix(line, "result\n")) >= 40 {
			t.Errorf("%q is longer than the screen is wide", line)
		}
	}
}

// shows reads the screen under the lock that its writers hold.
func shows(p *report.Progress, screen *bytes.Buffer, what string) bool {
	var found bool
	_, _ = p.Writer(writerFunc(func([]byte) (int, error) {
		found = strings.Contains(screen.String(), what)
		return 0, nil
	})).Write(nil)
	return found
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
