// Command standin plays every service of the platform on machines that can't pull the real images. Like
// busybox it is one program under many names: what it plays is the name it was started by.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/afs"
	"github.com/neutree-ai/packaging/test/standin/internal/agent"
	"github.com/neutree-ai/packaging/test/standin/internal/converter"
	"github.com/neutree-ai/packaging/test/standin/internal/memoryfuse"
	"github.com/neutree-ai/packaging/test/standin/internal/node"
	"github.com/neutree-ai/packaging/test/standin/internal/opensandbox"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	name := filepath.Base(args[0])
	program, known := programs()[name]
	if !known {
		fmt.Fprintf(os.Stderr, "standin: nothing is played under the name %s\n", name)
		return 127
	}
	return program(args[1:])
}

// programs maps each name in the images to what it plays.
func programs() map[string]func(args []string) int {
	play := func(name string, run func(*process.Process) error) func([]string) int {
		return func(args []string) int {
			p := process.New(name, args)
			return p.Code(run(p))
		}
	}
	return map[string]func([]string) int{
		"node":           node.Run,
		"gotenberg":      play("gotenberg", converter.Run),
		"afs":            play("afs", afs.CLI),
		"afs-controller": play("afs-controller", afs.Controller),
		"afs-fuse":       play("afs-fuse", afs.Fuse),
		"memory-fuse":    play("memory-fuse", memoryfuse.Run),
		"agent":          play("agent", agent.Run),
		"opensandbox":    play("opensandbox", opensandbox.Run),
		"tini":           play("tini", tini),
		"sleep":          play("sleep", sleep),
		"true":           func([]string) int { return 0 },
	}
}

// tini replaces itself by the program it was asked to start.
func tini(p *process.Process) error {
	args := p.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return fmt.Errorf("usage: tini -- PROGRAM [ARGUMENTS]")
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

func sleep(p *process.Process) error {
	if len(p.Args) != 1 {
		return fmt.Errorf("usage: sleep SECONDS")
	}
	seconds, err := strconv.ParseFloat(p.Args[0], 64)
	if err != nil || seconds < 0 {
		return fmt.Errorf("sleep: %q is no number of seconds", p.Args[0])
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	return nil
}
