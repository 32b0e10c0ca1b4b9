// Package report writes the results of preflight: as text for people, and as JSON, JUnit, SARIF or by a template for
// machines. Results go to one writer, and what tells of progress to another.
package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// Formats are the names of all formats.
var Formats = []string{"text", "json", "junit", "sarif", "go-template=TEMPLATE", "go-template-file=FILE"}

// Subject is what was checked, as a report names it.
type Subject struct {
	Release    string `json:"release"`
	Namespace  string `json:"namespace"`
	Chart      string `json:"chart"`
	Kubernetes string `json:"kubernetes"`
	// Tool is the version of this program, Docs the page that explains each check under an anchor of its ID.
	Tool string `json:"tool"`
	Docs string `json:"-"`
	// Title names the command, for people. Preflight leaves it empty.
	Title string `json:"-"`
}

func (s Subject) title() string { return cmp.Or(s.Title, "Preflight") }

// Link is where a check is explained.
func (s Subject) Link(id string) string { return s.Docs + "#" + id }

// Report is a sink that may fail to write.
type Report interface {
	preflight.Sink
	// Err is the first error of the writer.
	Err() error
}

// New makes the report of a format.
func New(format string, to io.Writer, subject Subject, look Look) (Report, error) {
	name, argument, _ := strings.Cut(format, "=")
	switch name {
	case "text":
		return newText(to, subject, look), nil
	case "json":
		return &whole{to: to, subject: subject, write: writeJSON}, nil
	case "junit":
		return &whole{to: to, subject: subject, write: writeJUnit}, nil
	case "sarif":
		return &whole{to: to, subject: subject, write: writeSARIF}, nil
	case "go-template", "go-template-file":
		write, err := templateWriter(name, argument)
		if err != nil {
			return nil, err
		}
		return &whole{to: to, subject: subject, write: write}, nil
	}
	return nil, fmt.Errorf("there is no output %q: --output is one of %s", format, strings.Join(Formats, ", "))
}

// Document is everything that a report holds.
type Document struct {
	Subject
	Results []Result `json:"results"`
	Summary Summary  `json:"summary"`
}

// Result is how one check ended. Every field is always there, so that a template can ask for it.
type Result struct {
	ID       string              `json:"id"`
	Topic    string              `json:"topic"`
	Title    string              `json:"title"`
	Status   preflight.Status    `json:"status"`
	Reason   string              `json:"reason"`
	Findings []preflight.Finding `json:"findings"`
	Link     string              `json:"link"`
	Attempts int                 `json:"attempts"`
	Seconds  float64             `json:"seconds"`
}

// Summary is a summary with its duration.
type Summary struct {
	preflight.Summary
	Seconds float64 `json:"seconds"`
}

// whole keeps everything and writes it at the end.
type whole struct {
	to       io.Writer
	subject  Subject
	document Document
	write    func(io.Writer, Document) error
	err      error
}

func (w *whole) Plan([]preflight.Check) {
	w.document = Document{Subject: w.subject, Results: []Result{}}
}
func (w *whole) Running([]string) {}

func (w *whole) Result(result preflight.Result) {
	topic, _, _ := strings.Cut(result.ID, ".")
	w.document.Results = append(w.document.Results, Result{
		ID: result.ID, Topic: topic, Title: result.Title, Status: result.Status, Reason: result.Reason,
		Findings: append([]preflight.Finding{}, result.Findings...), Link: w.subject.Link(result.ID),
		Attempts: result.Attempts, Seconds: seconds(result.Duration),
	})
}

func (w *whole) End(summary preflight.Summary) {
	w.document.Summary = Summary{Summary: summary, Seconds: seconds(summary.Duration)}
	w.err = w.write(w.to, w.document)
}

func (w *whole) Err() error { return w.err }

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// topics are those of the results, each once and in their order.
func (d Document) topics() []string {
	var topics []string
	for _, result := range d.Results {
		if !slices.Contains(topics, result.Topic) {
			topics = append(topics, result.Topic)
		}
	}
	return topics
}

// where joins the places that a finding names.
func where(f preflight.Finding) string {
	var places []string
	if f.Object != "" {
		places = append(places, f.Object)
	}
	if f.Node != "" {
		places = append(places, "node "+f.Node)
	}
	if f.Value != "" {
		places = append(places, "value "+f.Value)
	}
	return strings.Join(places, ", ")
}
