// Command clustertest runs the cluster tests, each in a process of its own, on as many testbeds as the machine has room
// for, or one after the other on the cluster of KUBECONFIG.
//
// Its exit code is 0 if every test passed, 1 if a test or the command of -alongside failed or could not be run or a
// testbed is still up, 2 if nothing was run, and 130 after an interrupt.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
)

// The exit codes.
const (
	exitFailed      = 1
	exitUnusable    = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	code, err := start(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "clustertest: "+err.Error())
	}
	os.Exit(code)
}

// start reads flags and variables.
func start(ctx context.Context, args []string) (int, error) {
	s := settings{
		all: catalog.All(), own: os.Getenv("KUBECONFIG"), notCompared: os.Getenv("NOT_COMPARED"), kubernetes: os.Getenv("KUBERNETES"),
		upLimit: 6 * time.Minute, grace: 20 * time.Second, stdout: os.Stdout, stderr: os.Stderr,
	}
	flags := flag.NewFlagSet("clustertest", flag.ContinueOnError)
	flags.StringVar(&s.pattern, "run", os.Getenv("RUN"), "pattern of go test that names the tests; also $RUN")
	flags.StringVar(&s.root, "root", ".", "root of the repository")
	flags.StringVar(&s.testbed, "testbed", "bin/testbed", "the testbed program")
	flags.DurationVar(&s.limit, "limit", 0, "how long each test may take; 0 for what the list of tests says")
	flags.BoolVar(&s.verbose, "v", os.Getenv("VERBOSE") != "", "print the output of tests that pass too; also $VERBOSE")
	flags.StringVar(&s.alongside, "alongside", "",
		"a command that runs alongside the tests at a low priority, with a result like theirs")
	number := flags.String("testbeds", os.Getenv("TESTBEDS"), "how many testbeds; empty for as many as there is room for; also $TESTBEDS")
	if err := flags.Parse(args); err != nil {
		return exitUnusable, nil
	}
	var err error
	if s.testbeds, err = count("TESTBEDS", *number, 0); err != nil {
		return exitUnusable, err
	}
	if s.nodes, err = count("NODES", os.Getenv("NODES"), 3); err != nil {
		return exitUnusable, err
	}
	for _, path := range []*string{&s.root, &s.testbed} {
		if *path, err = filepath.Abs(*path); err != nil {
			return exitUnusable, err
		}
	}
	if len(strings.Fields(s.alongside)) == 0 {
		s.alongside = ""
	}
	s.out = filepath.Join(s.root, "bin", "test")
	release, err := lock(filepath.Join(os.TempDir(), "neutree-clustertest.lock"))
	if err != nil {
		return exitUnusable, err
	}
	defer release()
	return s.run(ctx)
}

func count(name, text string, otherwise int) (int, error) {
	n, err := strconv.Atoi(cmp.Or(text, strconv.Itoa(otherwise)))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is %q: give a number", name, text)
	}
	return n, nil
}

// lock keeps another run from taking this one's testbeds for its own.
func lock(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another run of the cluster tests uses the testbeds: wait for it to end (%s is locked)", path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}
