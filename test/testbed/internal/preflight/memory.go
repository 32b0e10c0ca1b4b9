package preflight

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// Memory that a testbed takes with the platform on it, in MiB: measured with `testbed status` after an install, and
// rounded up.
const (
	hubMemory  = 1000
	nodeMemory = 500
)

// Memory refuses a testbed that the machine has no memory for: the kernel would end processes of this one or of another.
func Memory(nodes int) error {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("find out how much memory is available: %w", err)
	}
	defer file.Close()
	available, err := parseAvailable(file)
	if err != nil {
		return fmt.Errorf("find out how much memory is available: %w", err)
	}
	return enough(available, nodes)
}

func enough(available, nodes int) error {
	if needed := hubMemory + nodes*nodeMemory; available < needed {
		return fmt.Errorf("no memory for a testbed of %d node(s): it takes %d MiB, and the machine has %d MiB left: "+
			"end something, take another testbed down, or ask for fewer nodes", nodes, needed, available)
	}
	return nil
}

// parseAvailable reads what the kernel can give to new programs, in MiB.
func parseAvailable(meminfo io.Reader) (int, error) {
	for lines := bufio.NewScanner(meminfo); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "MemAvailable:"); found {
			var kilobytes int
			_, err := fmt.Sscanf(strings.TrimSpace(value), "%d kB", &kilobytes)
			return kilobytes >> 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no line MemAvailable")
}
