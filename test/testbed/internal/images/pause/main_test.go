package main

import (
	"os/exec"
	"testing"
	"time"
)

func TestReapCollectsAChildThatEnded(t *testing.T) {
	if reap() {
		t.Fatal("there was a child before the test started one")
	}
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !reap() {
		if time.Now().After(deadline) {
			t.Fatal("the child was not collected")
		}
		time.Sleep(time.Millisecond)
	}
}
