// Package bed brings up the clusters that tests run on, by the testbed program, and takes them down.
package bed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
)

// NameVariable names the testbed that the testbed program works on.
const NameVariable = "NEUTREE_TESTBED_NAME"

// ErrNoRoom says that the machine has no memory for another testbed.
var ErrNoRoom = errors.New("no memory for a testbed")

// Shape is what a testbed is brought up with.
type Shape struct {
	Nodes    int
	Policies bool
	Audit    bool
}

// For is the shape that a test needs.
func For(needs catalog.Needs, nodes int) Shape {
	if needs.Nodes != 0 {
		nodes = needs.Nodes
	}
	return Shape{Nodes: nodes, Policies: !needs.NoPolicies, Audit: needs.Audit}
}

// Fits says whether a test can run on a testbed of this shape.
func (s Shape) Fits(needs catalog.Needs) bool {
	if needs.None {
		return true
	}
	return (needs.Nodes == 0 || needs.Nodes == s.Nodes) && needs.NoPolicies != s.Policies && (s.Audit || !needs.Audit)
}

// Bed is a cluster that is up.
type Bed struct {
	// Name is empty for a user's own cluster.
	Name       string
	Kubeconfig string
	Shape      Shape
}

// members is the folder of the testbed's nodes and control plane.
func (b *Bed) members() string { return filepath.Join(filepath.Dir(b.Kubeconfig), "members") }

// LogFolders are the folders with the logs of each member of a testbed.
func (b *Bed) LogFolders() []string {
	if b.Name == "" {
		return nil
	}
	// A pattern without a mistake has no error.
	folders, _ := filepath.Glob(filepath.Join(b.members(), "*", "log"))
	return folders
}

// Environment is what a test has to know of the cluster.
func (b *Bed) Environment() []string {
	environment := []string{"KUBECONFIG=" + b.Kubeconfig}
	if b.Name == "" {
		return environment
	}
	environment = append(environment, NameVariable+"="+b.Name, "NETWORK_POLICIES="+strconv.FormatBool(b.Shape.Policies))
	if b.Shape.Audit {
		environment = append(environment, "AUDIT_LOG="+filepath.Join(b.members(), "hub", "log", "audit.log"))
	}
	return environment
}

// Own is a user's own cluster, which nobody brings up or takes down.
type Own struct{ Kubeconfig string }

// Up returns the cluster.
func (o Own) Up(_ context.Context, _ string, shape Shape) (*Bed, error) {
	return &Bed{Kubeconfig: o.Kubeconfig, Shape: shape}, nil
}

// Down leaves it alone.
func (o Own) Down(context.Context, string) error { return nil }

// Program is the testbed program.
type Program struct {
	Path       string
	Kubernetes string
	// UpLimit and DownLimit bound each run of it.
	UpLimit, DownLimit time.Duration
}

// Up brings up a new testbed. One of the same name, perhaps of a run that was killed, is removed first.
func (p *Program) Up(ctx context.Context, name string, shape Shape) (*Bed, error) {
	if err := p.Down(ctx, name); err != nil {
		return nil, err
	}
	args := []string{"up", "--nodes", strconv.Itoa(shape.Nodes), "--network-policies=" + strconv.FormatBool(shape.Policies)}
	if p.Kubernetes != "" {
		args = append(args, "--kubernetes", p.Kubernetes)
	}
	if shape.Audit {
		args = append(args, "--audit")
	}
	if _, err := p.run(ctx, p.UpLimit, name, args...); err != nil {
		return nil, err
	}
	path, err := p.run(ctx, p.DownLimit, name, "kubeconfig")
	if err != nil {
		return nil, err
	}
	return &Bed{Name: name, Kubeconfig: strings.TrimSpace(path), Shape: shape}, nil
}

// Down removes a testbed, if there is one of that name.
func (p *Program) Down(ctx context.Context, name string) error {
	_, err := p.run(ctx, p.DownLimit, name, "down")
	return err
}

// run runs the program, which a signal for this process does not reach: it is told to stop by the context.
func (p *Program) run(ctx context.Context, limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	command := exec.CommandContext(ctx, p.Path, append([]string{"--name", name}, args...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 20 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("not done within %s", limit)
	case strings.Contains(stderr.String(), ErrNoRoom.Error()):
		err = ErrNoRoom
	}
	return "", fmt.Errorf("testbed --name %s %s: %w: %s", name, strings.Join(args, " "), err, tail(stderr.String()))
}

// tail is the end of what a command printed: its cause.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
