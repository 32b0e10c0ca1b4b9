package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/test/dump/dumptest"
)

// Variables of the programs below, which are this test's own binary.
const (
	// fakeDir is the folder of their state. Without it the binary runs the tests.
	fakeDir = "CLUSTERTEST_FAKE_DIR"
	// fakeBroken are the testbeds that do not come up, each as often as it is named; fakeFull are those without room.
	fakeBroken = "CLUSTERTEST_FAKE_BROKEN"
	fakeFull   = "CLUSTERTEST_FAKE_FULL"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(fakeDir)
	switch {
	case dir == "":
		os.Exit(m.Run())
	case os.Args[1] == "--name":
		fakeTestbed(dir, os.Args[2], os.Args[3:])
	default:
		fakeTest(dir)
	}
}

// fakeTestbed notes its calls. A testbed that is up is a folder, as the real one's state is.
func fakeTestbed(dir, name string, args []string) {
	state := filepath.Join(dir, name)
	switch args[0] {
	case "up":
		note(dir, name+" "+strings.Join(args, " "))
		earlier := strings.Count(calls(dir), name+" up")
		try(os.MkdirAll(filepath.Join(state, "members", "hub", "log"), 0o755))
		if broken := strings.Count(os.Getenv(fakeBroken), name); earlier <= broken {
			fmt.Fprintln(os.Stderr, "starting\ntestbed: the API server does not answer")
			os.Exit(1)
		}
		if strings.Contains(os.Getenv(fakeFull), name) {
			fmt.Fprintln(os.Stderr, "testbed: no memory for a testbed of 3 node(s): it takes 2500 MiB, and the machine has 1000 MiB left")
			os.Exit(1)
		}
		kubeconfig, err := os.ReadFile(filepath.Join(dir, "kubeconfig"))
		try(err)
		try(os.WriteFile(filepath.Join(state, "kubeconfig"), kubeconfig, 0o600))
		try(os.WriteFile(filepath.Join(state, "members", "hub", "log", "kube-apiserver.log"), []byte(dumptest.Leaky()), 0o600))
	case "down":
		if _, err := os.Stat(state); err == nil {
			note(dir, name+" down")
		}
		try(os.RemoveAll(state))
	case "kubeconfig":
		fmt.Println(filepath.Join(state, "kubeconfig"))
	}
}

// fakeTest prints what a test binary would that is told to run the test of that name.
func fakeTest(dir string) {
	name := ""
	for i, arg := range os.Args {
		if arg == "-test.run" {
			name = strings.Trim(os.Args[i+1], "^$")
		}
	}
	note(dir, "begin "+name+" on "+os.Getenv("NEUTREE_TESTBED_NAME"))
	defer note(dir, "end "+name)
	if name == "TestNothing" {
		fmt.Println("testing: warning: no tests to run\nPASS")
		return
	}
	fmt.Println("=== RUN   " + name)
	switch {
	case strings.HasPrefix(name, "TestPass"):
		time.Sleep(50 * time.Millisecond)
		fmt.Printf("    one_test.go:1: %s says something\n--- PASS: %s (0.05s)\nPASS\n", name, name)
	case name == "TestSkips":
		fmt.Printf("    one_test.go:1: not here\n--- SKIP: %s (0.00s)\nPASS\n", name)
	case name == "TestFails":
		fmt.Printf("=== RUN   %[1]s/one\n=== RUN   %[1]s/two\n    one_test.go:1: %[2]s\n--- FAIL: %[1]s (0.02s)\n"+
			"    --- PASS: %[1]s/one (0.01s)\n    --- FAIL: %[1]s/two (0.01s)\nFAIL\n", name, strings.ReplaceAll(dumptest.Leaky(), "\n", "\n        "))
		os.Exit(1)
	case name == "TestWritesItself":
		folder := filepath.Join(os.Getenv("FAILED_DIR"), "before")
		try(os.MkdirAll(folder, 0o755))
		try(os.WriteFile(filepath.Join(folder, "events.txt"), []byte(dumptest.Leaky()), 0o600))
		fmt.Printf("--- FAIL: %s (0.00s)\nFAIL\n", name)
		os.Exit(1)
	case name == "TestPanics":
		panic("at the disco")
	case strings.HasPrefix(name, "TestHangs"):
		wake := make(chan os.Signal, 1)
		signal.Notify(wake, syscall.SIGUSR1)
		<-wake
	}
}

func note(dir, line string) {
	file, err := os.OpenFile(filepath.Join(dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	try(err)
	_, err = fmt.Fprintln(file, line)
	try(err)
}

func calls(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "calls"))
	return string(text)
}

func try(err error) {
	if err != nil {
		panic(err)
	}
}
