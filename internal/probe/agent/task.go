// Package agent is what a probe pod does: a list of small tasks, each of which proves one thing from
// where the pod runs. It knows nothing of Kubernetes.
package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Task is one thing to prove. Exactly one of its kinds is set.
type Task struct {
	// ID names the task in the report.
	ID string `json:"id"`

	Reach    *Reach    `json:"reach,omitempty"`
	Resolve  *Resolve  `json:"resolve,omitempty"`
	Clock    *Clock    `json:"clock,omitempty"`
	Files    *Files    `json:"files,omitempty"`
	Share    *Share    `json:"share,omitempty"`
	Bind     *Bind     `json:"bind,omitempty"`
	Serve    *Serve    `json:"serve,omitempty"`
	Isolated *Isolated `json:"isolated,omitempty"`
	Shut     *Shut     `json:"shut,omitempty"`
	Fuse     *Fuse     `json:"fuse,omitempty"`
	Mounted  *Mounted  `json:"mounted,omitempty"`
	Database *Database `json:"database,omitempty"`
	Lost     *Lost     `json:"lost,omitempty"`
}

// job is a kind of task. Its facts are told whether it fails or not.
type job interface {
	run(ctx context.Context, facts Facts) error
}

// jobs are the kinds of t that are set.
func (t Task) jobs() []job {
	all := []job{t.Reach, t.Resolve, t.Clock, t.Files, t.Share, t.Bind, t.Serve, t.Isolated, t.Shut, t.Fuse, t.Mounted,
		t.Database, t.Lost}
	var set []job
	for _, j := range all {
		if !reflect.ValueOf(j).IsNil() {
			set = append(set, j)
		}
	}
	return set
}

// ReadTasks decodes and checks a list of tasks.
func ReadTasks(text string) ([]Task, error) {
	var tasks []Task
	if err := decode([]byte(text), &tasks); err != nil {
		return nil, fmt.Errorf("read the tasks: %w", err)
	}
	if len(tasks) == 0 {
		return nil, errors.New("read the tasks: there are none")
	}
	seen := map[string]bool{}
	for _, task := range tasks {
		if task.ID == "" || seen[task.ID] {
			return nil, fmt.Errorf("read the tasks: the ID %q is empty or there twice", task.ID)
		}
		seen[task.ID] = true
		if n := len(task.jobs()); n != 1 {
			return nil, fmt.Errorf("read the tasks: %s has %d kinds, not one", task.ID, n)
		}
	}
	return tasks, nil
}

// decode reads one JSON value and nothing else.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON")
	}
	return nil
}
