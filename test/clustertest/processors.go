package main

import (
	"os"
	"strconv"
	"strings"
)

// ticks is the time of all processors since the machine started.
type ticks struct{ all, idle float64 }

// processors reads it. Where it cannot be read it is zero.
func processors() ticks {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	var t ticks
	for i, field := range strings.Fields(line) {
		// The first is a name. Guests are counted among the users already.
		if i == 0 || i > 8 {
			continue
		}
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return ticks{}
		}
		t.all += n
		// Idle, and idle while the disk is waited for.
		if i == 4 || i == 5 {
			t.idle += n
		}
	}
	return t
}

// since is which part of the time since an earlier reading was used.
func (t ticks) since(earlier ticks) float64 {
	if t.all <= earlier.all {
		return 0
	}
	return 1 - (t.idle-earlier.idle)/(t.all-earlier.all)
}
