package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Identity tells a process from a later one with the same PID.
type Identity struct {
	PID int `json:"pid"`
	// Start is the process's start in clock ticks since the boot that Boot names.
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// Identify is the identity of a process that runs now.
func Identify(pid int) (Identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, fmt.Errorf("process %d: %w", pid, err)
	}
	start, state, err := parseStat(string(stat))
	if err != nil {
		return Identity{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if state == "Z" || state == "X" {
		return Identity{}, fmt.Errorf("process %d has ended: %w", pid, fs.ErrNotExist)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("identify the boot: %w", err)
	}
	return Identity{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// Alive reports whether that very process still runs.
func (i Identity) Alive() bool {
	if i.PID <= 0 {
		return false
	}
	now, err := Identify(i.PID)
	return err == nil && now == i
}

// Kill ends that very process. That it has ended already is fine.
func (i Identity) Kill() error {
	if !i.Alive() {
		return nil
	}
	process, err := os.FindProcess(i.PID)
	if err != nil {
		return fmt.Errorf("process %d: %w", i.PID, err)
	}
	defer process.Release()
	// The handle holds on to the process it found: look once more that it is ours.
	if !i.Alive() {
		return nil
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", i.PID, err)
	}
	return nil
}

// parseStat reads the start time and the state out of /proc/<pid>/stat. The name, in brackets, may hold anything.
func parseStat(stat string) (start uint64, state string, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, "", fmt.Errorf("unexpected form of stat: %q", stat)
	}
	fields := strings.Fields(stat[end+1:])
	const startField = 19 // the 22nd of all, counted after the name
	if len(fields) <= startField {
		return 0, "", fmt.Errorf("unexpected form of stat: %q", stat)
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return 0, "", fmt.Errorf("unexpected form of stat: %w", err)
	}
	return start, fields[0], nil
}
