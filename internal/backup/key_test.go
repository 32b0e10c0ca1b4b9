package backup_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// A restore into a cluster with other keys would succeed, and leave credentials that cannot be read.
func TestABackupOfAnotherKeyIsRefused(t *testing.T) {
	const theirs, ours = "the-key-of-the-cluster-that-is-lost", "the-key-that-an-install-has-made"
	f := newFixture(t)
	f.Spec.EncryptionKey = hook.SecretRef{Secret: "nap-cp-secret", Key: "CREDENTIAL_ENCRYPTION_KEY"}
	f.create(t, "without-a-key")
	if err := migrate.RecordKey(t.Context(), f.DatabaseURL, theirs); err != nil {
		t.Fatal(err)
	}
	m := f.create(t, "recorded")
	if !m.Key.Matches(theirs) {
		t.Fatal("the backup does not recognise its key")
	}
	f.create(t, "of-010")
	// Version 0.1.0 wrote no record of the key, but its dumps hold the table.
	path := filepath.Join(f.Spec.Dir, "of-010", "backup.json")
	raw, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(raw), theirs) {
		t.Fatalf("the description has the key itself (%v):\n%s", err, raw)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil || fields["encryptionKey"] == nil {
		t.Fatalf("%v:\n%s", err, raw)
	}
	delete(fields, "encryptionKey")
	if raw, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}

	f.CredentialKey = ours
	before := f.everything(t)
	for _, name := range []string{"recorded", "of-010"} {
		for what, try := range map[string]func() error{
			"check":   func() error { _, err := f.Check(t.Context(), name, false); return err },
			"restore": func() error { _, err := f.Restore(t.Context(), name, false); return err },
		} {
			t.Run(what+" "+name, func(t *testing.T) {
				wantFailure(t, try(), hook.Refused,
					"the credentials in backup "+name+" are encrypted with another key than the key "+
						"CREDENTIAL_ENCRYPTION_KEY of Secret nap-cp-secret",
					"restore with --allow-other-key", "[backup.key]")
			})
		}
	}
	if f.everything(t) != before {
		t.Error("it was refused, and the database is another one")
	}
	if _, err := f.Check(t.Context(), "without-a-key", false); err != nil {
		t.Errorf("a backup from before there was a key: %v", err)
	}
	f.CredentialKey = theirs
	for _, name := range []string{"recorded", "of-010"} {
		if _, err := f.Check(t.Context(), name, false); err != nil {
			t.Errorf("the right key for %s: %v", name, err)
		}
	}
	f.CredentialKey, f.AllowOtherKey = ours, true
	if _, err := f.Restore(t.Context(), "of-010", false); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(f.said.String(), "encrypted with another key than the installation's") {
		t.Errorf("it warns of nothing:\n%s", f.said)
	}
	// The record stays: an upgrade still says that the keys differ, until the loss is accepted.
	standing, err := migrate.Compare(t.Context(), f.DatabaseURL, nil)
	if err != nil || !standing.Key.Matches(theirs) {
		t.Errorf("the database does not recognise its key any more (%v)", err)
	}
}
