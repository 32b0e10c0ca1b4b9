package device

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckFuse(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		title, path string
		uid         int
		want        string
	}{
		{"a device", "/dev/null", 0, ""},
		{"not root", "/dev/null", 1000, "this one runs as uid 1000"},
		{"not mounted", filepath.Join(dir, "fuse"), 0, "must be mounted from the host"},
		{"no module", dir, 0, "the node has no fuse module"},
	} {
		t.Run(test.title, func(t *testing.T) {
			err := checkFuse(test.path, test.uid)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckWritable(t *testing.T) {
	dir := t.TempDir()
	if err := CheckWritable(dir); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("the check leaves %v behind, %v", left, err)
	}
	if err := CheckWritable(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "is not writable by uid") {
		t.Errorf("no directory: %v", err)
	}
}
