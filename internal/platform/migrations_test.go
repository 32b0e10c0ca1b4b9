package platform_test

import (
	"testing"

	"github.com/neutree-ai/packaging/internal/platform"
)

func TestSquashedID(t *testing.T) {
	for id, want := range map[string]bool{
		"001_init": false, "002_users": true, "114_last": true, "115_first": false,
		"channel_001_init": false, "channel_002_x": false, "0a2_x": false, "002": false, "": false,
	} {
		if got := platform.SquashedID(id); got != want {
			t.Errorf("SquashedID(%q) = %v, want %v", id, got, want)
		}
	}
}

func TestFindMigrationSource(t *testing.T) {
	s, err := platform.FindMigrationSource("gateway")
	if err != nil || s.Ledger() != "public.schema_migrations" || s.IDPrefix != "channel_" {
		t.Errorf("gateway: %+v, %v", s, err)
	}
	if _, err := platform.FindMigrationSource("nobody"); err == nil {
		t.Error("an unknown source was found")
	}
}
