package supervise

import (
	"os"
	"os/exec"
	"testing"
)

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21"
	for name, test := range map[string]struct {
		stat  string
		start uint64
		state string
		fails bool
	}{
		"plain":                   {stat: "42 (etcd)" + tail, start: 98765, state: "S"},
		"name with blanks":        {stat: "42 (tmux: server)" + tail, start: 98765, state: "S"},
		"name that looks like it": {stat: "42 (a) Z 1 (b)" + tail, start: 98765, state: "S"},
		"no name":                 {stat: "42", fails: true},
		"cut off":                 {stat: "42 (etcd) S 1 2", fails: true},
		"no number":               {stat: "42 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 soon 20", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			start, state, err := parseStat(test.stat)
			if (err != nil) != test.fails || start != test.start || state != test.state {
				t.Errorf("got %d, %q, %v", start, state, err)
			}
		})
	}
}

func TestIdentityIsOfOneProcessOnly(t *testing.T) {
	command := exec.Command("sleep", "60")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	identity, err := Identify(command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !identity.Alive() {
		t.Error("it runs but counts as dead")
	}
	for name, other := range map[string]Identity{
		"another start": {PID: identity.PID, Start: identity.Start + 1, Boot: identity.Boot},
		"another boot":  {PID: identity.PID, Start: identity.Start, Boot: "another"},
		"none":          {},
	} {
		if other.Alive() {
			t.Errorf("%s: counts as the same process", name)
		}
		if err := other.Kill(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !identity.Alive() {
		t.Error("killing another process killed it")
	}
	if err := identity.Kill(); err != nil {
		t.Error(err)
	}
	if err := command.Wait(); err == nil {
		t.Error("it ended by itself")
	}
	if identity.Alive() {
		t.Error("it was killed but counts as alive")
	}
	if err := identity.Kill(); err != nil {
		t.Errorf("killing it again: %v", err)
	}
}

func TestEndedButNotWaitedForIsNotAlive(t *testing.T) {
	command := exec.Command("true")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// End of file on the pipe comes with its end.
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Fatal("true printed something")
	}
	for {
		if _, err := Identify(command.Process.Pid); err != nil {
			break
		}
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := Identify(os.Getpid()); err != nil {
		t.Errorf("this process: %v", err)
	}
}
