package agent

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func share(dir, role string) string {
	return fmt.Sprintf(`[{"id":"share","share":{"dir":%q,"name":"nonce","role":%q,"seconds":3}}]`, dir, role)
}

func TestTwoPodsShareAVolume(t *testing.T) {
	dir := t.TempDir()
	first, second := inOtherPod(t, share(dir, "first")), inOtherPod(t, share(dir, "second"))
	for name, got := range map[string]Result{"first": first()["share"], "second": second()["share"]} {
		if !got.OK() {
			t.Errorf("%s: %+v", name, got)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A class that hands each node a volume of its own is found out: the second sees nothing of the first.
func TestVolumeThatIsNotShared(t *testing.T) {
	first, second := inOtherPod(t, share(t.TempDir(), "first")), inOtherPod(t, share(t.TempDir(), "second"))
	for name, got := range map[string]Result{"first": first()["share"], "second": second()["share"]} {
		if got.OK() || got.Facts[Step] != StepSee || !strings.Contains(got.Error, "not to be seen here") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A file system whose locks exclude nobody is found out. Within one process fcntl locks are like that.
func TestLocksThatDoNotExclude(t *testing.T) {
	dir := t.TempDir()
	task := func(role string) Task {
		return Task{ID: role, Share: &Share{Dir: dir, Name: "nonce", Role: role, Seconds: 3}}
	}
	report := Run(t.Context(), []Task{task("first"), task("second")})
	got := report.Results[1]
	if got.OK() || got.Facts[Step] != StepExclude || got.Error != "fcntl locks do not work: a file is locked on two nodes at once" {
		t.Errorf("%+v", got)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if got := runOne(t, Task{Files: &Files{Dir: dir, Name: "nonce", Size: 1}}); !got.OK() || got.Facts["owner"] == "" {
		t.Errorf("%+v", got)
	}
	if got := runOne(t, Task{Files: &Files{Dir: dir, Name: "nonce", Size: 1 << 60, Seconds: 1}}); !strings.Contains(got.Error, "the volume holds") {
		t.Errorf("%+v", got)
	}
	if got := runOne(t, Task{Files: &Files{Dir: "/proc", Name: "nonce"}}); !strings.Contains(got.Error, "make a directory as uid") {
		t.Errorf("%+v", got)
	}
}
