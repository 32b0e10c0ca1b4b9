package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/execute"
	"github.com/neutree-ai/packaging/test/clustertest/internal/report"
)

// alongsideLimit bounds how long the command that runs with the tests may take. Limits of its own end it sooner.
const alongsideLimit = 80 * time.Minute

// alongsideMemory is kept free for it: a linter of Kubernetes' packages takes that much.
const alongsideMemory = 3 << 30

// runAlongside runs a command at a low priority, and keeps its result like a test's.
func (r *runner) runAlongside(ctx context.Context) {
	const worker = "alongside"
	r.screen.Busy(worker, r.alongside)
	raw := filepath.Join(r.out, "output", worker+".log")
	end, text := r.executeAlongside(ctx, raw)
	one := report.Case{Name: r.alongside, Outcome: report.Passed, Took: end.Took}
	result := report.Result{Name: r.alongside, Worker: worker, Took: end.Took}
	switch {
	case ctx.Err() != nil && end.Err != nil:
		one.Outcome, result.Reason, text = report.Skipped, "interrupted", ""
	case end.Err != nil:
		one.Outcome, one.Output, result.Reason = report.Failed, text, end.Err.Error()
	case !r.verbose:
		text = ""
	}
	result.Cases = []report.Case{one}
	r.keep(result)
	r.screen.Busy(worker, "")
	r.screen.Ended(result, text)
}

func (r *runner) executeAlongside(ctx context.Context, raw string) (execute.End, string) {
	output, err := os.Create(raw)
	if err != nil {
		return execute.End{Err: err}, ""
	}
	defer output.Close()
	words := strings.Fields(r.alongside)
	end := execute.Run(ctx, execute.Program{
		Path: words[0], Args: words[1:], Dir: r.root, Output: output, Limit: alongsideLimit, Grace: r.grace, Low: true,
	})
	text, err := os.ReadFile(raw)
	end.Err = errors.Join(end.Err, err)
	return end, string(text)
}
