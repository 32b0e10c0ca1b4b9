package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// otherPod in the environment holds tasks: the test binary then plays a pod of its own.
const otherPod = "AGENT_TEST_TASKS"

func TestMain(m *testing.M) {
	if tasks := os.Getenv(otherPod); tasks != "" {
		os.Exit(playPod(tasks))
	}
	os.Exit(m.Run())
}

func playPod(text string) int {
	tasks, err := ReadTasks(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	report, err := Run(ctx, tasks).Encode()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(report)
	return 0
}

// inOtherPod starts tasks in a process of their own and returns what gives its results.
func inOtherPod(t *testing.T, text string) func() map[string]Result {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), otherPod+"="+text)
	command.Stderr = os.Stderr
	type said struct {
		output []byte
		err    error
	}
	done := make(chan said, 1)
	go func() {
		output, err := command.Output()
		done <- said{output, err}
	}()
	return func() map[string]Result {
		t.Helper()
		s := <-done
		if s.err != nil {
			t.Fatal(s.err)
		}
		tasks, err := ReadTasks(text)
		if err != nil {
			t.Fatal(err)
		}
		results, err := Decode(string(s.output), tasks)
		if err != nil {
			t.Fatal(err)
		}
		return results
	}
}

func runOne(t *testing.T, task Task) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	task.ID = "it"
	return Run(ctx, []Task{task}).Results[0]
}
