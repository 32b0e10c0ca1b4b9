package migrate_test

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestTheFirstKeyIsRecordedAndKept(t *testing.T) {
	url := pgtest.Start(t)
	key := func() migrate.KeyRecord {
		t.Helper()
		standing, err := migrate.Compare(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return standing.Key
	}
	if key().Known() || key().Matches("") {
		t.Error("a key is known before there is one")
	}
	for _, name := range []string{"first-key", "second-key"} {
		m, _ := migrator(url)
		m.CredentialKey = name
		if _, err := m.Apply(t.Context(), testSet, []hook.Migration{folder(t, "gateway", nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if r := key(); !r.Known() || !r.Matches("first-key") || r.Matches("second-key") || r.Matches("") {
		t.Error("the record is not that of the first key")
	}
	if err := migrate.RecordKey(t.Context(), url, "third-key"); err != nil {
		t.Fatal(err)
	}
	if r := key(); !r.Matches("third-key") || r.Matches("first-key") {
		t.Error("the record is not that of the key which somebody put in its place")
	}
	stored := query[string](t, open(t, url, "test"), "SELECT encode(salt || digest, 'escape') FROM neutree.encryption_key")
	if len(stored) != 1 || strings.Contains(stored[0], "third-key") {
		t.Errorf("stored %q", stored)
	}
}
