// Package execute runs a program in a process group of its own, within a limit of time.
package execute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
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
	// Low gives it little more than the processor time that others leave. It is asked to end before it is killed, since programs of
	// its own may run in other groups.
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

// Run runs the program to its end and leaves no process of its group behind. A context that is cancelled ends it at once.
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
		// A Go program answers with the stacks of its goroutines. Those that it has started are not asked.
		_ = command.Process.Signal(syscall.SIGQUIT)
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
	end.Took = time.Since(began)
	return end
}

// lower takes the priority of a session that has just begun: of its processes, and of all of it where the kernel groups by
// sessions. A machine that refuses either is slower, and nothing else.
func lower(session int) {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, session, lowNice)
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", session), []byte(strconv.Itoa(lowNice)), 0o644)
}

// lowNice weighs a third of what others do. With the least weight, a seventieth, a program on a busy machine stands still for
// seconds, and what it awaits with a limit fails.
const lowNice = 5
