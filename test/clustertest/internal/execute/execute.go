// Package execute runs a program in a process group of its own, within a limit of time.
package execute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is what runs.
type Program struct {
	Path string
	Args []string
	Dir  string
	// Env is added to the environment of this process.
	Env []string
	// Output is the file for all that it prints.
	Output *os.File
	// Limit is how long it may run. Then it is asked for its goroutines, and killed once Grace is over.
	Limit, Grace time.Duration
	// Low gives it a lower priority than this process has. It is asked to end before it is killed, so that it can end
	// what it has started.
	Low bool
}

// End is how a program ended.
type End struct {
	// Err is nil if it ended well.
	Err error
	// Hung says that it was ended because of its limit.
	Hung bool
	Took time.Duration
}

// Run runs the program to its end and leaves no process of its group behind. A context that is cancelled ends it
// at once, or within Grace if its priority is low.
func Run(ctx context.Context, p Program) End {
	command := exec.Command(p.Path, p.Args...)
	command.Dir = p.Dir
	command.Env = append(os.Environ(), p.Env...)
	command.Stdout, command.Stderr = p.Output, p.Output
	// A session is a process group too, and what the kernel shares processor time between where it groups by sessions.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: !p.Low, Setsid: p.Low}
	began := time.Now()
	if err := command.Start(); err != nil {
		return End{Err: err}
	}
	group := -command.Process.Pid
	if p.Low {
		lower(command.Process.Pid)
	}
	var result error
	ended := make(chan struct{})
	go func() {
		result = command.Wait()
		close(ended)
	}()

	end := End{}
	select {
	case <-ended:
		end.Err = result
	case <-ctx.Done():
		if p.Low {
			_ = syscall.Kill(group, syscall.SIGINT)
			select {
			case <-ended:
			case <-time.After(p.Grace):
			}
		}
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-ended
		end.Err = errors.Join(ctx.Err(), result)
	case <-time.After(p.Limit):
		end.Hung = true
		// A Go program answers with the stacks of its goroutines. Those that it has started are not asked, except those
		// of a shell, which does not hear this itself.
		asked := command.Process.Pid
		if p.Low {
			asked = group
		}
		_ = syscall.Kill(asked, syscall.SIGQUIT)
		select {
		case <-ended:
		case <-ctx.Done():
			_ = syscall.Kill(group, syscall.SIGKILL)
			<-ended
		case <-time.After(p.Grace):
			_ = syscall.Kill(group, syscall.SIGKILL)
			<-ended
		}
		end.Err = fmt.Errorf("not done within %s", p.Limit)
	}
	// What it started and did not await ends with it.
	_ = syscall.Kill(group, syscall.SIGKILL)
	if p.Low {
		endSession(command.Process.Pid)
	}
	end.Took = time.Since(began)
	return end
}

// endSession kills what is left of a session in process groups of its own.
func endSession(session int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		// A name may hold anything, parentheses included. After it come state, parent, group and session.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 4 || fields[3] != strconv.Itoa(session) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// lower gives a session that has just started a lower priority than this process has: to its processes, and to all of
// it where the kernel shares processor time between sessions. A machine that refuses is slower, and nothing else.
func lower(session int) {
	own, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return
	}
	// The kernel reports 40, the highest, down to 1, and takes -20 to 19.
	nice := min(19, 20-own+lowNice)
	_ = syscall.Setpriority(syscall.PRIO_PGRP, session, nice)
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", session), []byte(strconv.Itoa(nice)), 0o644)
}

// lowNice gives a third of the weight. With the least weight, a seventieth, a program on a busy machine stands still
// for seconds, and what it awaits with a limit fails.
const lowNice = 5
