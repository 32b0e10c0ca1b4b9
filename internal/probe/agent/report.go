package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// MaxReport is how long a report may be: what Kubernetes keeps of a termination message, less room for doubt.
const MaxReport = 4000

const (
	maxText  = 400
	maxFacts = 16
)

// Facts are what a task found out, by short names.
type Facts map[string]string

// Result is the outcome of one task.
type Result struct {
	ID string `json:"id"`
	// Error says what did not work; empty if all did.
	Error string `json:"error,omitempty"`
	Facts Facts  `json:"facts,omitempty"`
}

// OK tells whether the task proved what it was to prove.
func (r Result) OK() bool { return r.Error == "" }

// Report is what a probe pod tells in the end.
type Report struct {
	Results []Result `json:"results"`
}

// Encode makes the report's text, with the texts in it cut as short as it takes to fit.
func (r Report) Encode() (string, error) {
	for limit := maxText; limit >= 10; limit /= 2 {
		short := Report{Results: make([]Result, 0, len(r.Results))}
		for _, result := range r.Results {
			short.Results = append(short.Results, result.cut(limit))
		}
		text, err := json.Marshal(short)
		if err != nil {
			return "", err
		}
		if len(text) <= MaxReport {
			return string(text), nil
		}
	}
	return "", fmt.Errorf("the report of %d tasks is longer than %d bytes", len(r.Results), MaxReport)
}

func (r Result) cut(limit int) Result {
	out := Result{ID: r.ID, Error: cut(r.Error, limit)}
	for name, value := range r.Facts {
		if out.Facts == nil {
			out.Facts = Facts{}
		}
		out.Facts[name] = cut(value, limit)
	}
	return out
}

// Decode reads the report of a pod that was given tasks. What comes out of a pod is not trusted: it must
// be about these tasks, short, and free of control characters.
func Decode(text string, tasks []Task) (map[string]Result, error) {
	if len(text) > MaxReport {
		return nil, fmt.Errorf("the probe's report is %d bytes long, more than %d", len(text), MaxReport)
	}
	var report Report
	if err := decode([]byte(text), &report); err != nil {
		return nil, fmt.Errorf("the probe's report is none: %q: %w", cut(text, 200), err)
	}
	asked := map[string]bool{}
	for _, task := range tasks {
		asked[task.ID] = true
	}
	results := map[string]Result{}
	for _, result := range report.Results {
		if _, twice := results[result.ID]; twice || !asked[result.ID] {
			return nil, fmt.Errorf("the probe's report tells of %q, which was not asked or is there twice", cut(result.ID, 60))
		}
		if len(result.Facts) > maxFacts {
			return nil, fmt.Errorf("the probe's report has %d facts on %s, more than %d", len(result.Facts), result.ID, maxFacts)
		}
		results[result.ID] = result.cut(maxText)
	}
	for _, task := range tasks {
		if _, ok := results[task.ID]; !ok {
			return nil, fmt.Errorf("the probe's report does not tell of %s", task.ID)
		}
	}
	return results, nil
}

// cut makes text one printable line of at most limit bytes.
func cut(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "…"
}
