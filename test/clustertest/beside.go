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

// besideLimit bounds how long the command that runs with the tests may take. Limits of its own end it sooner.
const besideLimit = 80 * time.Minute

// besideMemory is kept free for it: a linter of Kubernetes' packages takes that much.
const besideMemory = 3 << 30

// runBeside runs a command at a low priority, and keeps its result like a test's.
func (r *runner) runBeside(ctx context.Context) {
	const worker = "beside"
	r.screen.Busy(worker, r.beside)
	raw := filepath.Join(r.out, "output", worker+".log")
	end, text := r.executeBeside(ctx, raw)
	one := report.Case{Name: r.beside, Outcome: report.Passed, Took: end.Took}
	result := report.Result{Name: r.beside, Worker: worker, Took: end.Took}
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

func (r *runner) executeBeside(ctx context.Context, raw string) (execute.End, string) {
	output, err := os.Create(raw)
	if err != nil {
		return execute.End{Err: err}, ""
	}
	defer output.Close()
	words := strings.Fields(r.beside)
	end := execute.Run(ctx, execute.Program{
		Path: words[0], Args: words[1:], Dir: r.root, Output: output, Limit: besideLimit, Grace: r.grace, Low: true,
	})
	text, err := os.ReadFile(raw)
	end.Err = errors.Join(end.Err, err)
	return end, string(text)
}
