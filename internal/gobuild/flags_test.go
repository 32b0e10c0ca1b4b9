package gobuild

import (
	"os"
	"strings"
	"testing"
)

// Make compiles as this package does, so that a program and its tests share what they are made of.
func TestMakeCompilesAlike(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nexport CGO_ENABLED := 0\n", "\nexport GOFLAGS     := " + Flags + "\n"} {
		if !strings.Contains(string(makefile), want) {
			t.Errorf("the Makefile does not hold %q", want)
		}
	}
}
