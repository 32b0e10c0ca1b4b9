package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// boundMemory has the garbage collector work harder near the container's limit, where the kernel would end the process.
// A limit that GOMEMLIMIT sets stays.
func boundMemory(cgroups string) {
	if limit := containerLimit(cgroups); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		// The rest is for what is not the collector's, such as programs that this one runs.
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// containerLimit is the memory that control groups of version 2 or 1 allow this container, 0 where they set no limit.
func containerLimit(cgroups string) int64 {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(filepath.Join(cgroups, file))
		if err != nil {
			continue
		}
		// Version 2 says "max" where there is no limit, version 1 the largest number of whole pages.
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && limit < 1<<50 {
			return limit
		}
	}
	return 0
}
