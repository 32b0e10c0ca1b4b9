package execute_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/execute"
)

// part is the environment variable that makes this test's binary one of the programs below.
const part = "EXECUTE_TEST_PART"

// wanted is the one of the priority that the program "low" waits for.
const wanted = "EXECUTE_TEST_PRIORITY"

func TestMain(m *testing.M) {
	switch os.Getenv(part) {
	case "":
		os.Exit(m.Run())
	case "well":
		fmt.Println("out")
		fmt.Fprintln(os.Stderr, "err")
	case "hang":
		hang()
	case "deaf":
		signal.Ignore(syscall.SIGQUIT)
		hang()
	case "low":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, os.Interrupt)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), part+"=hang")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		// What starts it takes its priority a moment later.
		for want := os.Getenv(wanted); strconv.Itoa(priority()) != want; {
			time.Sleep(time.Millisecond)
		}
		fmt.Println(child.Process.Pid)
		if err := syscall.Kill(os.Getppid(), syscall.SIGUSR1); err != nil {
			os.Exit(1)
		}
		<-asked
		fmt.Println("asked to end")
	case "parent":
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), part+"=hang")
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		fmt.Println(child.Process.Pid)
		os.Exit(3)
	}
}

// priority is this process's, by the kernel's count: from 40, the highest, down to 1.
func priority() int {
	priority, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		panic(err)
	}
	return priority
}

func hang() {
	// A process that nothing can wake would be ended by its runtime.
	wake := make(chan os.Signal, 1)
	signal.Notify(wake, syscall.SIGUSR1)
	fmt.Println("hanging")
	<-wake
}

func start(t *testing.T, ctx context.Context, what string, limit time.Duration) (execute.End, string) {
	t.Helper()
	return startProgram(t, ctx, what, execute.Program{Limit: limit, Grace: 300 * time.Millisecond})
}

func startProgram(t *testing.T, ctx context.Context, what string, p execute.Program) (execute.End, string) {
	t.Helper()
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	p.Path, p.Env, p.Output = os.Args[0], []string{part + "=" + what, "GOTRACEBACK=all"}, output
	end := execute.Run(ctx, p)
	text, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	return end, string(text)
}

func TestEndsWell(t *testing.T) {
	end, text := start(t, t.Context(), "well", time.Minute)
	if end.Err != nil || end.Hung || text != "out\nerr\n" {
		t.Errorf("%+v, %q", end, text)
	}
}

func TestHangs(t *testing.T) {
	end, text := start(t, t.Context(), "hang", time.Second)
	if !end.Hung || end.Err == nil || !strings.Contains(text, "SIGQUIT: quit") || !strings.Contains(text, "execute_test.hang") {
		t.Errorf("%+v: the output has no goroutines:\n%s", end, text)
	}
}

func TestHangsAndIsDeaf(t *testing.T) {
	end, text := start(t, t.Context(), "deaf", time.Second)
	if !end.Hung || end.Err == nil || text != "hanging\n" {
		t.Errorf("%+v, %q", end, text)
	}
	if end.Took > 20*time.Second {
		t.Errorf("killed after %s", end.Took)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	end, _ := start(t, ctx, "hang", time.Minute)
	if end.Hung || !errors.Is(end.Err, context.Canceled) || end.Took > 20*time.Second {
		t.Errorf("%+v", end)
	}
}

// A program of low priority is asked to end, and what it started in a group of its own ends with it.
func TestLowPriorityIsAskedToEnd(t *testing.T) {
	t.Setenv(wanted, strconv.Itoa(max(1, priority()-5)))
	ready := make(chan os.Signal, 1)
	signal.Notify(ready, syscall.SIGUSR1)
	defer signal.Stop(ready)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-ready
		cancel()
	}()
	end, text := startProgram(t, ctx, "low", execute.Program{Limit: time.Minute, Grace: time.Minute, Low: true})
	if !errors.Is(end.Err, context.Canceled) || !strings.HasSuffix(text, "asked to end\n") {
		t.Fatalf("%+v, %q", end, text)
	}
	wantEnded(t, strings.Fields(text)[0])
}

// A shell does not hear what asks a hung program for its stacks: the programs that it runs do.
func TestLowPriorityHangsInAShell(t *testing.T) {
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	end := execute.Run(t.Context(), execute.Program{
		Path: "bash", Args: []string{"-c", "trap '' QUIT; (trap - QUIT; exec \"$0\"); exit 1", os.Args[0]},
		Output: output, Env: []string{part + "=hang", "GOTRACEBACK=all"}, Limit: time.Second, Grace: time.Minute, Low: true,
	})
	text, err := os.ReadFile(output.Name())
	if err != nil || !end.Hung || !strings.Contains(string(text), "execute_test.hang") {
		t.Errorf("%+v, %v: the output has no goroutines:\n%s", end, err, text)
	}
}

func TestChildrenEnd(t *testing.T) {
	end, text := start(t, t.Context(), "parent", time.Minute)
	var exit *exec.ExitError
	if !errors.As(end.Err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%+v", end)
	}
	wantEnded(t, strings.Fields(text)[0])
}

// wantEnded waits for the end of a process.
func wantEnded(t *testing.T, child string) {
	t.Helper()
	pid, err := strconv.Atoi(child)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); running(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("child %d still runs", pid)
		}
	}
}

// running says whether a process is there and has not ended: the machine's init may be slow to take note.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
