package preflight

import (
	"strings"
	"testing"
)

func TestMemory(t *testing.T) {
	available, err := parseAvailable(strings.NewReader("MemTotal:       24643180 kB\nMemAvailable:    2400000 kB\n"))
	if err != nil || available != 2343 {
		t.Fatalf("got %d MiB, %v", available, err)
	}
	if err := enough(available, 2); err != nil {
		t.Error(err)
	}
	err = enough(available, 3)
	const want = "no memory for a testbed of 3 node(s): it takes 2500 MiB, and the machine has 2343 MiB left: " +
		"end something, take another testbed down, or ask for fewer nodes"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err := parseAvailable(strings.NewReader("MemTotal: 1 kB\n")); err == nil {
		t.Error("found what is not there")
	}
}
