package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Share proves together with a pod on another node that both see one file system: what either writes the
// other reads, and a lock that the first holds keeps the second out. Two pods are given the same but for Role.
type Share struct {
	// Dir is where the volume is mounted.
	Dir string `json:"dir"`
	// Name makes a directory for the two.
	Name string `json:"name"`
	// Role is "first" or "second".
	Role string `json:"role"`
	// Seconds bound each wait for the other; 25 if 0.
	Seconds int `json:"seconds,omitempty"`
}

// Step is the fact that says what was tried last.
const Step = "step"

// The steps that can fail.
const (
	// StepWrite: a file is made here.
	StepWrite = "write"
	// StepSee: what the other wrote is to be seen here.
	StepSee = "see"
	// StepLock: a lock is taken.
	StepLock = "lock"
	// StepExclude: a lock that the other holds is to keep this one out.
	StepExclude = "exclude"
	// StepRelease: a lock that the other gave back is to be had.
	StepRelease = "release"
)

type sharing struct {
	*Share
	ctx   context.Context
	facts Facts
	dir   string
}

func (s *Share) run(ctx context.Context, facts Facts) error {
	run := &sharing{Share: s, ctx: ctx, facts: facts, dir: filepath.Join(s.Dir, s.Name)}
	switch s.Role {
	case "first":
		return run.first()
	case "second":
		return run.second()
	}
	return fmt.Errorf("the role is %q, neither first nor second", s.Role)
}

func (s *sharing) first() error {
	s.facts[Step] = StepWrite
	if err := os.Mkdir(s.dir, 0o770); err != nil {
		return fmt.Errorf("make a directory as uid %d: %w", os.Geteuid(), err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	if err := s.say("first", "written by the first"); err != nil {
		return err
	}
	if err := s.hear("second", "written by the second"); err != nil {
		return err
	}
	s.facts[Step] = StepLock
	held, err := s.lockBoth()
	if err != nil {
		return err
	}
	err = s.say("locked", "yes")
	if err == nil {
		err = s.hear("tried", "yes")
	}
	for _, file := range held {
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return err
	}
	if err := s.say("released", "yes"); err != nil {
		return err
	}
	return s.hear("done", "yes")
}

func (s *sharing) second() error {
	if err := s.hear("first", "written by the first"); err != nil {
		return err
	}
	if err := s.say("second", "written by the second"); err != nil {
		return err
	}
	if err := s.hear("locked", "yes"); err != nil {
		return err
	}
	s.facts[Step] = StepExclude
	for _, kind := range locks() {
		file, err := kind.take(filepath.Join(s.dir, kind.name))
		switch {
		case err == nil:
			_ = file.Close()
			return fmt.Errorf("%s locks do not work: a file is locked on two nodes at once", kind.name)
		case !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES):
			return fmt.Errorf("try a %s lock: %w", kind.name, err)
		}
	}
	if err := s.say("tried", "yes"); err != nil {
		return err
	}
	if err := s.hear("released", "yes"); err != nil {
		return err
	}
	s.facts[Step] = StepRelease
	if err := s.poll(func() error {
		held, err := s.lockBoth()
		for _, file := range held {
			err = errors.Join(err, file.Close())
		}
		return err
	}); err != nil {
		return fmt.Errorf("a lock that the other node gave back can't be had: %w", err)
	}
	return s.say("done", "yes")
}

// say leaves a note for the other. It appears at once and whole.
func (s *sharing) say(name, text string) error {
	s.facts[Step] = StepWrite
	if err := writeFile(filepath.Join(s.dir, "."+name), []byte(text)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, "."+name), filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("rename a file: %w", err)
	}
	return nil
}

// hear waits for a note of the other.
func (s *sharing) hear(name, text string) error {
	s.facts[Step] = StepSee
	var read []byte
	err := s.poll(func() error {
		// A client of a file server may remember for a minute that a name is not there; who changes the
		// directory asks anew.
		probe := filepath.Join(s.Dir, "."+s.Name+"-"+s.Role)
		if os.WriteFile(probe, nil, 0o660) == nil {
			_ = os.Remove(probe)
		}
		if probe := filepath.Join(s.dir, "."+s.Role); os.WriteFile(probe, nil, 0o660) == nil {
			_ = os.Remove(probe)
		}
		var err error
		read, err = os.ReadFile(filepath.Join(s.dir, name))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a file that the pod on the other node was to write (%s) is not to be seen here", name)
	}
	if err != nil {
		return fmt.Errorf("read what the other node wrote: %w", err)
	}
	if strings.TrimSpace(string(read)) != text {
		return errors.New("what the other node wrote reads differently here")
	}
	return nil
}

func (s *sharing) poll(try func() error) error {
	ctx, cancel := context.WithTimeout(s.ctx, seconds(s.Seconds, 25*time.Second))
	defer cancel()
	for {
		err := try()
		if err == nil || pause(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

func (s *sharing) lockBoth() ([]*os.File, error) {
	var held []*os.File
	for _, kind := range locks() {
		file, err := kind.take(filepath.Join(s.dir, kind.name))
		if err != nil {
			return held, fmt.Errorf("take a %s lock: %w", kind.name, err)
		}
		held = append(held, file)
	}
	return held, nil
}

// lockKind is one way to lock a file of a path, which does not wait.
type lockKind struct {
	name string
	take func(path string) (*os.File, error)
}

// locks are the two kinds of lock that programs use, SQLite the first. Both do not wait.
func locks() []lockKind {
	open := func(path string, take func(fd uintptr) error) (*os.File, error) {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o660)
		if err != nil {
			return nil, err
		}
		if err := take(file.Fd()); err != nil {
			_ = file.Close()
			return nil, err
		}
		return file, nil
	}
	return []lockKind{
		{"fcntl", func(path string) (*os.File, error) {
			return open(path, func(fd uintptr) error {
				return unix.FcntlFlock(fd, unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: 0, Len: 0})
			})
		}},
		{"flock", func(path string) (*os.File, error) {
			return open(path, func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
		}},
	}
}
