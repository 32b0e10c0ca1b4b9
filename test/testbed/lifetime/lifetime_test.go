//go:build e2e

package lifetime

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/test/testbed/internal/preflight"
)

// program is the testbed as built from this tree.
var program string

// own is the name of the testbed that these tests bring up, so that those of others go on beside it.
const own = "lifetime"

const base = "/var/lib/neutree-testbed"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "testbed-lifetime-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	program = filepath.Join(dir, "testbed")
	if err := os.Setenv("NEUTREE_TESTBED_NAME", own); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// What stays on the machine must be there before the tests look at it.
	if err := preflight.Install(context.Background(), slog.Default()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/testbed")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the testbed:", err)
		return 1
	}
	return m.Run()
}

// testbed runs the program to its end.
func testbed(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return errs.String(), err
	}
	return out.String(), nil
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	output, err := testbed(t, args...)
	if err != nil {
		t.Fatalf("testbed %v: %v\n%s", args, err, output)
	}
	return output
}

// refused runs the program and expects it to fail with a message.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	output, err := testbed(t, args...)
	if err == nil || !strings.Contains(output, want) {
		t.Errorf("testbed %v: %v: %q is not in:\n%s", args, err, want, output)
	}
}

// free removes what an earlier run of these tests left, and at the end what this one did.
func free(t *testing.T, names ...string) {
	t.Helper()
	down := func() {
		for _, name := range append(names, own) {
			if output, err := exec.Command(program, "--name", name, "down").CombinedOutput(); err != nil {
				t.Errorf("testbed down: %v\n%s", err, output)
			}
		}
	}
	down()
	t.Cleanup(down)
}

type status struct {
	Complete bool `json:"complete"`
	Members  []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		PID   int    `json:"pid"`
	} `json:"members"`
	ResidentBytes int64 `json:"residentBytes"`
}

func readStatus(t *testing.T, args ...string) status {
	t.Helper()
	var s status
	if err := json.Unmarshal([]byte(must(t, append(args, "status", "--output", "json")...)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// running fails unless the hub and all nodes run.
func running(t *testing.T, nodes int) {
	t.Helper()
	s := readStatus(t)
	if !s.Complete || len(s.Members) != nodes+1 || s.ResidentBytes == 0 {
		t.Errorf("status %+v", s)
	}
	for _, m := range s.Members {
		if m.State != "running" {
			t.Errorf("%s is %s", m.Name, m.State)
		}
	}
}

func TestUpAndDown(t *testing.T) {
	free(t)
	before := look(t)
	must(t, "up", "--nodes", "2")
	running(t, 2)

	t.Run("a second up changes nothing", func(t *testing.T) {
		first := readStatus(t)
		must(t, "up", "--nodes", "2")
		for i, m := range readStatus(t).Members {
			if m.PID != first.Members[i].PID {
				t.Errorf("%s was started again", m.Name)
			}
		}
	})
	t.Run("other parameters are refused", func(t *testing.T) {
		refused(t, "a testbed with 2 node(s), Kubernetes 1.34, NetworkPolicies enforced runs already, which cannot become one with 1 node(s), Kubernetes 1.34, NetworkPolicies enforced: run testbed --name lifetime down first", "up", "--nodes", "1")
		running(t, 2)
	})
	t.Run("a testbed of another state directory is left alone", func(t *testing.T) {
		t.Setenv("NEUTREE_TESTBED_STATE", filepath.Join(t.TempDir(), "state"))
		const want = "choose another name, or run NEUTREE_TESTBED_STATE=" + base + " testbed --name " + own + " down first"
		refused(t, want, "down")
		refused(t, want, "up")
	})
	t.Run("a node goes and comes", func(t *testing.T) {
		must(t, "node", "stop", "node2")
		if s := readStatus(t); s.Members[2].State != "stopped" || s.Members[1].State != "running" {
			t.Errorf("status %+v", s)
		}
		if must(t, "node", "start", "node2"); !strings.Contains(must(t, "logs", "node2", "--unit", "supervisor"), "started") {
			t.Error("node2 says nothing of its start")
		}
		running(t, 2)
	})
	t.Run("a program of the control plane is restarted", func(t *testing.T) {
		must(t, "restart", "kube-apiserver")
		running(t, 2)
		refused(t, `the control plane runs no program "spoon": it has coredns, etcd, kube-apiserver`, "restart", "spoon")
	})
	t.Run("up fixes a node that has died", func(t *testing.T) {
		if err := syscall.Kill(readStatus(t).Members[1].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// A node takes everything in it along before it is gone itself.
		for deadline := time.Now().Add(time.Minute); readStatus(t).Members[1].State != "stopped"; {
			if time.Now().After(deadline) {
				t.Fatal("a killed node is still there")
			}
		}
		must(t, "up", "--nodes", "2")
		running(t, 2)
	})
	t.Run("logs", func(t *testing.T) {
		if output := must(t, "logs", "node1"); !strings.Contains(output, "Kubelet version") {
			t.Errorf("kubelet says:\n%.500s", output)
		}
		if output := must(t, "logs", "hub", "--unit", "kube-apiserver"); !strings.Contains(output, "v1.34") {
			t.Errorf("the API server says:\n%.500s", output)
		}
	})

	must(t, "down")
	same(t, before)
	must(t, "down")
	same(t, before)
}

// Killed at any moment, up leaves what down removes, and the next up clears and starts over.
func TestKilledUp(t *testing.T) {
	for name, moment := range map[string]string{
		"while it starts the control plane": "starting the control plane",
		"while it waits for the API server": "waiting for the API server",
		"while it waits for the nodes":      "waiting for the nodes",
	} {
		t.Run(name, func(t *testing.T) {
			free(t)
			before := look(t)
			killUp(t, moment)
			must(t, "down")
			same(t, before)
		})
	}
	t.Run("and up again", func(t *testing.T) {
		free(t)
		before := look(t)
		killUp(t, "waiting for the nodes")
		must(t, "up", "--nodes", "1")
		running(t, 1)
		must(t, "down")
		same(t, before)
	})
	t.Run("and its state lost", func(t *testing.T) {
		free(t)
		before := look(t)
		killUp(t, "waiting for the nodes")
		if err := os.Remove(filepath.Join(base, own, "state.json")); err != nil {
			t.Fatal(err)
		}
		must(t, "down")
		same(t, before)
	})
}

// killUp starts up and kills it when it says that it begins a step.
func killUp(t *testing.T, step string) {
	t.Helper()
	command := exec.Command(program, "up", "--nodes", "1")
	steps, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	for scanner := bufio.NewScanner(steps); scanner.Scan(); {
		seen += scanner.Text() + "\n"
		if strings.Contains(scanner.Text(), step) {
			if err := command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	_, _ = io.Copy(io.Discard, steps)
	if err := command.Wait(); err == nil || !strings.Contains(seen, step) {
		t.Fatalf("up was not killed while %s: %v\n%s", step, err, seen)
	}
}

func TestOtherKubernetes(t *testing.T) {
	for minor, version := range map[string]string{"1.28": "v1.28.15", "1.37": "v1.37.2"} {
		t.Run(minor, func(t *testing.T) {
			free(t)
			before := look(t)
			must(t, "up", "--nodes", "1", "--kubernetes", minor, "--network-policies=false")
			running(t, 1)
			if output := must(t, "logs", "hub", "--unit", "kube-apiserver"); !strings.Contains(output, version) {
				t.Errorf("the API server says:\n%.500s", output)
			}
			must(t, "down")
			same(t, before)
		})
	}
}

func TestRefusals(t *testing.T) {
	const none = "no testbed in " + base + "/" + own + ": run testbed --name " + own + " up"
	refused(t, "0 nodes: give a number from 1 to 15", "up", "--nodes", "0")
	refused(t, `no Kubernetes "1.99" here: give one of [1.34 1.28 1.37]`, "up", "--kubernetes", "1.99")
	refused(t, none, "kubeconfig")
	refused(t, none, "node", "stop", "node1")
	refused(t, none, "restart", "etcd")
	refused(t, `"No" cannot be the name of a testbed`, "--name", "No", "up")
	refused(t, "give both an image archive and the reference it is to have, or neither", "push", "image.tar")
	refused(t, `no tool is called "spoon"`, "tool", "spoon")
}

func TestOnlyRootMay(t *testing.T) {
	for _, args := range [][]string{{"up"}, {"down"}} {
		command := exec.Command(program, args...)
		command.Env = append(os.Environ(), "HOME=/tmp")
		const nobody = 65534
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		output, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(output), "only root may: run it as root") {
			t.Errorf("testbed %v: %v\n%s", args, err, output)
		}
	}
}

// A machine whose own network lies where the testbed's would is left alone.
func TestForeignRouteIsRefused(t *testing.T) {
	before := look(t)
	for _, args := range [][]string{
		{"link", "add", "foreign0", "type", "bridge"}, {"address", "add", "198.19.255.1/24", "dev", "foreign0"}, {"link", "set", "foreign0", "up"},
	} {
		command(t, "ip", args...)
	}
	refused(t, "the machine has a route of its own to 198.19.255.0/24 (foreign0), inside 198.18.0.0/15 which testbeds use: remove it first", "up")
	command(t, "ip", "link", "delete", "foreign0")
	same(t, before)
}
