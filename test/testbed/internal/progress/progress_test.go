package progress

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	var out strings.Builder
	log := slog.New(NewHandler(&out))
	log.Info("starting node1")
	log.With("unit", "etcd").Warn("slow", "for", "3s")
	log.Debug("not for people")
	want := regexp.MustCompile(`^ +\d+\.\ds  starting node1\n +\d+\.\ds  warn: slow unit=etcd for=3s\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}
