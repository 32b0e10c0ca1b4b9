package agent

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestReadTasks(t *testing.T) {
	for text, want := range map[string]string{
		`[{"id":"a","resolve":{"names":["x"]}}]`: "",
		`[]`:                                     "there are none",
		`[{"id":"","resolve":{"names":["x"]}}]`:  "empty or there twice",
		`[{"id":"a"}]`:                           "a has 0 kinds",
		`[{"id":"a","resolve":{},"clock":{"url":"x"}}]`:     "a has 2 kinds",
		`[{"id":"a","resolve":{"nmes":["x"]}}]`:             `unknown field "nmes"`,
		`[{"id":"a","resolve":{}},{"id":"a","resolve":{}}]`: "there twice",
		`[{"id":"a","resolve":{}}] and more`:                "something follows",
		`{"id":"a"}`:                                        "cannot unmarshal",
	} {
		_, err := ReadTasks(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// However many tasks there are and however much each has to say, all of them are told of.
func TestReportFits(t *testing.T) {
	var tasks []Task
	var report Report
	for i := range 40 {
		id := fmt.Sprintf("task%d", i)
		tasks = append(tasks, Task{ID: id})
		report.Results = append(report.Results, Result{ID: id, Error: strings.Repeat("ä\n", 500), Facts: Facts{"name": strings.Repeat("x", 300)}})
	}
	text, err := report.Encode()
	if err != nil || len(text) > MaxReport {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	results, err := Decode(text, tasks)
	if err != nil || len(results) != 40 || results["task39"].OK() {
		t.Errorf("%d results, %v", len(results), err)
	}
}

// What a pod says is not believed: it may have been written by somebody who broke into a node.
func TestHostileReports(t *testing.T) {
	tasks := []Task{{ID: "a"}}
	for text, want := range map[string]string{
		``:                                    "is none",
		`hello`:                               "is none",
		`{"results":[]}`:                      "does not tell of a",
		`{"results":[{"id":"b"}]}`:            `tells of "b"`,
		`{"results":[{"id":"a"},{"id":"a"}]}`: "there twice",
		`{"results":[{"id":"a","command":"rm"}]}`:                                   "unknown field",
		`{"results":[{"id":"a"}]}{}`:                                                "something follows",
		`{"results":[{"id":"a","error":"` + strings.Repeat("x", MaxReport) + `"}]}`: "bytes long",
		`{"results":[{"id":"a","facts":{"1":"","2":"","3":"","4":"","5":"","6":"","7":"","8":"","9":"","10":"","11":"","12":"","13":"","14":"","15":"","16":"","17":""}}]}`: "17 facts",
	} {
		_, err := Decode(text, tasks)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
	results, err := Decode("{\"results\":[{\"id\":\"a\",\"error\":\"red \\u001b[31m text\\u0000\\n next\"}]}", tasks)
	if err != nil || results["a"].Error != "red [31m text next" {
		t.Errorf("got %q, %v", results["a"].Error, err)
	}
}

// A task that hangs where no context reaches does not keep the others from being reported.
func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	report := Run(ctx, []Task{
		{ID: "long", Share: &Share{Dir: t.TempDir(), Name: "x", Role: "second", Seconds: 60}},
		{ID: "short", Files: &Files{Dir: t.TempDir(), Name: "x"}},
	})
	if report.Results[0].OK() || !report.Results[1].OK() {
		t.Errorf("%+v", report)
	}
}
