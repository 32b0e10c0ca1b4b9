package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestMemoryIsBoundByTheContainer(t *testing.T) {
	const limit = 128 << 20
	for name, tc := range map[string]struct {
		file, content, variable string
		want                    int64
	}{
		"version 2":           {"memory.max", "134217728\n", "", limit / 10 * 9},
		"version 2, no limit": {"memory.max", "max\n", "", math.MaxInt64},
		"version 1":           {"memory/memory.limit_in_bytes", "134217728\n", "", limit / 10 * 9},
		"version 1, no limit": {"memory/memory.limit_in_bytes", "9223372036854771712\n", "", math.MaxInt64},
		"set by the user":     {"memory.max", "134217728\n", "64MiB", math.MaxInt64},
		"no control groups":   {"other", "", "", math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
			t.Setenv("GOMEMLIMIT", tc.variable)
			cgroups := t.TempDir()
			file := filepath.Join(cgroups, tc.file)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			boundMemory(cgroups)
			if got := debug.SetMemoryLimit(-1); got != tc.want {
				t.Errorf("the limit is %d, want %d", got, tc.want)
			}
		})
	}
}
