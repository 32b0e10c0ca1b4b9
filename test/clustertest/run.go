package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/bed"
	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
	"github.com/neutree-ai/packaging/test/clustertest/internal/report"
	"github.com/neutree-ai/packaging/test/clustertest/internal/schedule"
)

// settings are what a run is made with.
type settings struct {
	all     []catalog.Test
	pattern string
	// root is the repository, and out the folder for what a run writes.
	root, out string
	// own is the kubeconfig of a user's own cluster, or empty.
	own, testbed, kubernetes string
	// notCompared is a file with a line for each comparison that an earlier test could not make, or empty.
	notCompared string
	// alongside is a command that runs with the tests, or empty.
	alongside             string
	testbeds, nodes       int
	verbose               bool
	limit, upLimit, grace time.Duration
	// binary is the test binary of every suite. Without it they are compiled.
	binary string
	stdout io.Writer
	stderr *os.File
	// room says whether there is memory for another testbed; without it the machine is asked.
	room func() bool
}

// run runs the tests and reports. An error says that nothing was run.
func (s *settings) run(ctx context.Context) (int, error) {
	selected, err := catalog.Select(s.all, s.pattern)
	if err != nil {
		return exitUnusable, err
	}
	// What an earlier run left would be taken for this one's.
	if err := errors.Join(os.RemoveAll(s.out), os.MkdirAll(filepath.Join(s.out, "output"), 0o755)); err != nil {
		return exitUnusable, err
	}
	r := &runner{settings: s, binaries: map[string]string{}}
	tests := r.possible(selected)
	total := len(tests)
	if s.alongside != "" {
		total++
	}
	r.screen = report.NewScreen(s.stdout, s.stderr, total)
	if err := r.compile(ctx, tests); err != nil {
		return exitUnusable, err
	}
	workers, err := s.workers(len(tests))
	if err != nil {
		return exitUnusable, err
	}
	scheduler := &schedule.Scheduler{
		Tests: tests, Workers: workers, InOrder: s.own != "", Nodes: s.nodes, Beds: s.beds(), Room: s.enoughRoom, Run: r.test, Watcher: r.screen,
	}
	began, used := time.Now(), processors()
	stop := every(time.Second, r.screen.Tick)
	var alongside sync.WaitGroup
	if s.alongside != "" {
		alongside.Go(func() { r.runAlongside(ctx) })
	}
	outcome := scheduler.Do(ctx)
	alongside.Wait()
	stop()
	r.screen.End()
	r.notRun(ctx, outcome.NotRun)
	summary := report.Summary{Results: r.results, Times: outcome.Times, Took: time.Since(began), Busy: processors().since(used)}
	summary.NotCompared, err = lines(s.notCompared)
	errs := append(outcome.Errors, err, r.writeJUnit(summary), summary.Write(s.stdout))
	for _, err := range errs {
		if err != nil {
			fmt.Fprintln(s.stderr, "clustertest: "+err.Error())
		}
	}
	switch {
	case ctx.Err() != nil:
		return exitInterrupted, nil
	case errors.Join(errs...) != nil, report.Count(r.results)[report.Failed] > 0:
		return exitFailed, nil
	}
	return 0, nil
}

// lines are those of a file. There are none without a path.
func lines(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what was not compared: %w", err)
	}
	return slices.Collect(strings.Lines(string(content))), nil
}

// workers is how many clusters are used.
func (s *settings) workers(tests int) (int, error) {
	if s.own != "" {
		return 1, nil
	}
	number := s.testbeds
	if number == 0 {
		available, err := bed.Available()
		if err != nil {
			return 0, fmt.Errorf("find out how many testbeds there is room for: %w: set TESTBEDS", err)
		}
		kept := uint64(0)
		if s.alongside != "" {
			kept = min(available, alongsideMemory)
		}
		number = bed.Number(runtime.NumCPU(), available-kept)
		fmt.Fprintf(s.stderr, "the machine has room for %d testbeds: %d processors, %.1f GiB of memory available (TESTBEDS sets another number)\n",
			number, runtime.NumCPU(), float64(available)/(1<<30))
	}
	return max(1, min(number, tests)), nil
}

func (s *settings) beds() schedule.Beds {
	if s.own != "" {
		return bed.Own{Kubeconfig: s.own}
	}
	return &bed.Program{Path: s.testbed, Kubernetes: s.kubernetes, UpLimit: s.upLimit, DownLimit: s.upLimit / 2}
}

func (s *settings) enoughRoom() bool {
	if s.room != nil {
		return s.room()
	}
	available, err := bed.Available()
	return err == nil && bed.Room(available)
}

// runner runs tests and collects their results.
type runner struct {
	*settings
	screen   *report.Screen
	binaries map[string]string

	mu      sync.Mutex
	results []report.Result
}

func (r *runner) keep(result report.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, result)
}

// possible leaves out what a user's own cluster cannot serve.
func (r *runner) possible(tests []catalog.Test) []catalog.Test {
	if r.own == "" {
		return tests
	}
	var kept []catalog.Test
	for _, test := range tests {
		if test.Needs.Testbed {
			r.keep(report.Unrun(test.Name, report.Skipped, "it needs a testbed, and KUBECONFIG names another cluster"))
			continue
		}
		kept = append(kept, test)
	}
	return kept
}

// compile builds the binary of each suite that is used.
func (r *runner) compile(ctx context.Context, tests []catalog.Test) error {
	for _, test := range tests {
		suite := test.Suite
		if r.binaries[suite.Name] != "" {
			continue
		}
		if r.binary != "" {
			r.binaries[suite.Name] = r.binary
			continue
		}
		binary := filepath.Join(r.out, suite.Name+".test")
		command := exec.CommandContext(ctx, "go", "test", "-tags", "e2e", "-c", "-o", binary, "./"+suite.Package)
		command.Dir = filepath.Join(r.root, suite.Module)
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("compile the tests of %s: %w\n%s", filepath.Join(suite.Module, suite.Package), err, output)
		}
		r.binaries[suite.Name] = binary
	}
	return nil
}

// notRun adds results for the tests that were left.
func (r *runner) notRun(ctx context.Context, tests []catalog.Test) {
	for _, test := range tests {
		if ctx.Err() != nil {
			r.keep(report.Unrun(test.Name, report.Skipped, "interrupted before it began"))
			continue
		}
		r.keep(report.Unrun(test.Name, report.Failed, "not run: no testbed came up for it"))
	}
}

func (r *runner) writeJUnit(summary report.Summary) error {
	file, err := os.Create(filepath.Join(r.out, "junit.xml"))
	if err != nil {
		return err
	}
	return errors.Join(report.WriteJUnit(file, summary.Results, summary.Took), file.Close())
}

// every calls do in intervals until the function that it returns is called.
func every(interval time.Duration, do func()) (stop func()) {
	ticker, done := time.NewTicker(interval), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-ticker.C:
				do()
			case <-done:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		group.Wait()
	}
}
