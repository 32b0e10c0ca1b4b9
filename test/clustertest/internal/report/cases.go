// Package report tells people and programs how the cluster tests went.
package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// How a case ended.
const (
	Passed  = "pass"
	Failed  = "fail"
	Skipped = "skip"
)

// Case is a test function or a subtest without subtests of its own.
type Case struct {
	Name    string
	Outcome string
	Took    time.Duration
	Output  string
}

// event is a line of go tool test2json.
type event struct {
	Action  string
	Test    string
	Elapsed float64
	Output  string
}

// Cases reads what a test binary printed with -test.v. A case that did not end, since its process did, has failed.
func Cases(ctx context.Context, output []byte) ([]Case, error) {
	// Without -t it leaves out how long each took.
	command := exec.CommandContext(ctx, "go", "tool", "test2json", "-t")
	command.Stdin = bytes.NewReader(output)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	events, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool test2json: %w: %s", err, &stderr)
	}
	var order []*Case
	cases := map[string]*Case{}
	for decoder := json.NewDecoder(bytes.NewReader(events)); ; {
		var e event
		if err := decoder.Decode(&e); err == io.EOF {
			return leaves(order), nil
		} else if err != nil {
			return nil, fmt.Errorf("go tool test2json: %w", err)
		}
		if e.Test == "" {
			continue
		}
		one := cases[e.Test]
		if one == nil {
			one = &Case{Name: e.Test, Outcome: Failed}
			cases[e.Test] = one
			order = append(order, one)
		}
		switch e.Action {
		case Passed, Failed, Skipped:
			one.Outcome = e.Action
			one.Took = time.Duration(e.Elapsed * float64(time.Second))
		case "output":
			one.Output += e.Output
		}
	}
}

// leaves leaves out a test with subtests, unless it failed and none of them did.
func leaves(all []*Case) []Case {
	var kept []Case
	for _, one := range all {
		parent, failed := false, false
		for _, other := range all {
			if strings.HasPrefix(other.Name, one.Name+"/") {
				parent = true
				failed = failed || other.Outcome == Failed
			}
		}
		if !parent || one.Outcome == Failed && !failed {
			kept = append(kept, *one)
		}
	}
	return kept
}
