package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/test/clustertest/internal/bed"
	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
	"github.com/neutree-ai/packaging/test/clustertest/internal/execute"
	"github.com/neutree-ai/packaging/test/clustertest/internal/report"
	"github.com/neutree-ai/packaging/test/dump"
)

// dumpLimit bounds how long a cluster is written down after a failure.
const dumpLimit = 2 * time.Minute

// test runs one test on a cluster, or on none, reports its result, and says whether it passed. What a failed one leaves
// is written down before the cluster is used again.
func (r *runner) test(ctx context.Context, worker string, on *bed.Bed, test catalog.Test) bool {
	watched, err := watch(ctx, on)
	if err != nil {
		return r.ended(ctx, worker, test, execute.End{Err: err}, "")
	}
	defer watched.stop()
	name := strings.ReplaceAll(test.Name, "/", "-")
	failed := filepath.Join(r.out, "failed", name)
	raw := filepath.Join(r.out, "output", name+".log")
	end := r.execute(ctx, on, test, raw, failed)
	output, err := os.ReadFile(raw)
	end.Err = errors.Join(end.Err, err)
	if ctx.Err() == nil && end.Err != nil && on != nil {
		watched.look(ctx)
	}
	text := watched.secrets.Mask().Hide(string(output))
	// The file is kept, and must not show more than the screen.
	if err := os.WriteFile(raw, []byte(text), 0o644); err != nil {
		end.Err = errors.Join(end.Err, err)
	}
	if ctx.Err() == nil && end.Err != nil {
		if err := writeDown(ctx, failed, on, watched, text); err != nil {
			text += fmt.Sprintf("\nnot everything could be written to %s: %v\n", failed, err)
		}
		text += fmt.Sprintf("\nwhat is left to look at is in %s\n", failed)
	}
	return r.ended(ctx, worker, test, end, text)
}

// execute runs the test's process.
func (r *runner) execute(ctx context.Context, on *bed.Bed, test catalog.Test, raw, failed string) execute.End {
	temporary, err := os.MkdirTemp("", "clustertest-")
	if err != nil {
		return execute.End{Err: err}
	}
	defer os.RemoveAll(temporary)
	// Tests run programs as other users from there.
	if err := os.Chmod(temporary, 0o755); err != nil {
		return execute.End{Err: err}
	}
	output, err := os.Create(raw)
	if err != nil {
		return execute.End{Err: err}
	}
	defer output.Close()
	args := []string{"-test.v", "-test.count=1", "-test.timeout=0", "-test.run", test.Run}
	if test.Skip != "" {
		args = append(args, "-test.skip", test.Skip)
	}
	limit := test.Bound()
	if r.limit > 0 {
		limit = r.limit
	}
	return execute.Run(ctx, execute.Program{
		Path: r.binaries[test.Suite.Name], Args: args, Dir: filepath.Join(r.root, test.Suite.Module, test.Suite.Package),
		Env: r.environment(on, temporary, failed), Output: output, Limit: limit, Grace: r.grace,
	})
}

func (r *runner) environment(on *bed.Bed, temporary, failed string) []string {
	// A process that is asked for its goroutines shows all of them.
	environment := []string{"TMPDIR=" + temporary, "GOTRACEBACK=all", dump.FolderVariable + "=" + failed}
	if r.own == "" {
		environment = append(environment, "TESTBED="+r.testbed)
	}
	if on != nil {
		environment = append(environment, on.Environment()...)
	}
	return environment
}

// ended reports how a test ended.
func (r *runner) ended(ctx context.Context, worker string, test catalog.Test, end execute.End, text string) bool {
	result := report.Result{Name: test.Name, Worker: worker, Took: end.Took}
	cases, err := report.Cases(context.WithoutCancel(ctx), []byte(text))
	result.Cases = cases
	switch {
	case ctx.Err() != nil && end.Err != nil:
		result = report.Unrun(test.Name, report.Skipped, "interrupted")
		result.Worker, result.Took, text = worker, end.Took, ""
	case end.Hung:
		result.Reason = fmt.Sprintf("it hung: %v; its output ends with the goroutines", end.Err)
	case end.Err != nil && !result.Failed():
		result.Reason = end.Err.Error()
	case err != nil:
		result.Reason = err.Error()
	case len(cases) == 0:
		result.Reason = "no test ran"
	}
	if result.Reason != "" && report.Count([]report.Result{result})[report.Skipped] == 0 && !result.Failed() {
		result.Cases = append(result.Cases, report.Case{Name: test.Name, Outcome: report.Failed, Took: end.Took, Output: text})
	}
	r.keep(result)
	if !result.Failed() && !r.verbose {
		text = ""
	}
	r.screen.Ended(result, text)
	return !result.Failed()
}

// watched is a cluster while a test runs on it: the values of its Secrets are not to be seen in what the test leaves.
type watched struct {
	config  *rest.Config
	secrets *dump.Secrets
	stop    func()
}

func watch(ctx context.Context, on *bed.Bed) (*watched, error) {
	w := &watched{secrets: &dump.Secrets{}, stop: func() {}}
	if on == nil {
		return w, nil
	}
	var err error
	if w.config, err = clientcmd.BuildConfigFromFlags("", on.Kubeconfig); err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Without it what the cluster has in the end is still read.
		_ = w.secrets.Watch(ctx, client)
	}()
	w.stop = func() {
		cancel()
		<-ended
	}
	return w, nil
}

// look reads what there is now, if the cluster answers.
func (w *watched) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if client, err := kubernetes.NewForConfig(w.config); err == nil {
		_ = w.secrets.Read(ctx, client)
	}
}
