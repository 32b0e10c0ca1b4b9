package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsOfTheMachineAreCovered(t *testing.T) {
	sysctl, dir := t.TempDir(), t.TempDir()
	for path := range kernelSettings() {
		// As in a kernel without keys.
		if filepath.Dir(path) == "kernel/keys" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(sysctl, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sysctl, path), []byte("3\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shown := map[string]string{}
	err := coverSettings(sysctl, dir, func(from, to string) error {
		content, err := os.ReadFile(from)
		shown[to] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		filepath.Join(sysctl, "vm/overcommit_memory"): "1\n",
		filepath.Join(sysctl, "vm/panic_on_oom"):      "0\n",
		filepath.Join(sysctl, "kernel/panic"):         "10\n",
		filepath.Join(sysctl, "kernel/panic_on_oops"): "1\n",
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("what kubelet sees (-want +got):\n%s", diff)
	}
}
