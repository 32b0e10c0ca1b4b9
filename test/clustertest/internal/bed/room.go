package bed

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// What a testbed of three nodes takes of the machine with the platform and its tests, and while it comes up.
const (
	memoryOfOne = 4 << 30
	memoryToUp  = 3 << 30
)

// Most is how many testbeds there are addresses for, besides the two that the tests of the testbed bring up themselves.
const Most = 6

// Number is how many testbeds a machine has room for: three on two cores. A test waits half of its time, and one testbed
// keeps two cores about a third busy.
func Number(cores int, available uint64) int {
	return max(1, min(cores*3/2, int(available/memoryOfOne), Most))
}

// Room says whether the machine has memory for another testbed.
func Room(available uint64) bool { return available >= memoryToUp }

// Available is how much memory the machine can give to new processes.
func Available() (uint64, error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		value, ok := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !ok {
			continue
		}
		var kibibytes uint64
		if _, err := fmt.Sscan(value, &kibibytes); err != nil {
			return 0, fmt.Errorf("/proc/meminfo: %w", err)
		}
		return kibibytes << 10, nil
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemAvailable")
}
