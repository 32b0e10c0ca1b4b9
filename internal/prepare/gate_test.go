package prepare

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const (
	installation = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: neutree-installation, namespace: nap}\ndata: {release: neutree, namePrefix: nap, databaseName: nap, keysSecret: nap-cp-secret}\n"
	claim        = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: afs-controller-db, namespace: nap}\nspec: {resources: {requests: {storage: 2Gi}}}\n"
	grown        = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: \"on\"}}\nspec: {imageName: \"registry.test/postgresql:18.1\", storage: {size: 20Gi}}\n"
)

func gated(t *testing.T, url string, objects ...string) *stage {
	t.Helper()
	s := newStage(t, url, objects...)
	s.spec.Gate.Fixed = []hook.FixedValue{
		{Key: "namePrefix", Setting: "global.namePrefix", Value: "nap"},
		{Key: "databaseName", Setting: "global.database.name", Value: "nap"},
		{Key: "unheard", Setting: "global.unheard", Value: "of"},
		{Key: "keysSecret", Setting: "global.secrets.existingSecret", Value: "nap-cp-secret", Secret: true},
	}
	s.spec.Guard.Claims = []hook.ClaimCheck{{Namespace: "nap", Name: "afs-controller-db", Size: "2Gi", Value: "global.storage.afsController.size"}}
	return s
}

func TestGate(t *testing.T) {
	t.Run("nothing is there yet", func(t *testing.T) { gated(t, "").wantDone() })
	t.Run("nothing changes", func(t *testing.T) { gated(t, "", installation, claim).wantDone() })
	t.Run("all reasons at once", func(t *testing.T) {
		s := gated(t, "", installation, claim, grown)
		s.spec.Gate.Fixed[0].Value = "acme"
		s.spec.Gate.Fixed[3].Value = "mine"
		s.spec.Guard.Claims[0].Size = "1Gi"
		s.wantRefused(
			`global.namePrefix was "nap"`, "global.upgrade.allowRenames=true",
			"Secret nap-cp-secret by mine", "global.upgrade.allowSecretChanges=true",
			"claim afs-controller-db in namespace nap has 2Gi and can't shrink to 1Gi",
			"spec.storage.size stays 20Gi, not 10Gi", "written by major version 18", "global.upgrade.allowKeptValues=true",
			"5 things must be changed first")
	})
	t.Run("what somebody decided", func(t *testing.T) {
		s := gated(t, "", installation, grown)
		s.spec.Gate.Fixed[0].Value = "acme"
		s.spec.Gate.Fixed[3].Value = "mine"
		s.spec.Gate.Allow = hook.GateOverrides{Renames: true, SecretChanges: true, KeptValues: true}
		s.wantDone()
	})
	t.Run("another release", func(t *testing.T) {
		s := gated(t, "", installation)
		s.spec.Gate.Release = "other"
		s.wantRefused("holds release neutree already")
	})
}

func TestImagesOlderThanTheDatabase(t *testing.T) {
	url := pgtest.Start(t)
	s := gated(t, url, running)
	s.wantDone("1 migrations applied")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	// What a squash has replaced, and what belongs to another source, is no sign of a newer release.
	for _, id := range []string{"002_old", "114_old", "channel_001_init", "133_newer"} {
		if _, err := conn.Exec(t.Context(), "INSERT INTO public.schema_migrations (id) VALUES ($1)", id); err != nil {
			t.Fatal(err)
		}
	}
	s.ran = nil
	s.wantRefused("older than the database", "(public.schema_migrations 133_newer)", "global.upgrade.allowOlderImages=true")
	// The same images as run, after an upgrade that failed half-way, are no step back.
	s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v1"}}
	s.server.Put(strings.Replace(cp, "containers:", "initContainers: [{name: wait, args: [wait, --set=set-1]}], containers:", 1))
	s.wantDone("the schema was up to date")
	s.spec.Pull.Workloads = nil
	s.spec.Gate.Allow.OlderImages = true
	s.wantDone("the schema was up to date")
}

func TestAnotherEncryptionKey(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.spec.Gate.EncryptionKey = &hook.SecretRef{Secret: "mine", Key: "ENCRYPTION_KEY"}
	put := func(key, value string) { s.server.Put(secretYAML("mine", key, value)) }
	refused := func() {
		t.Helper()
		s.ran = nil
		s.wantRefused("Secret mine in namespace nap holds another ENCRYPTION_KEY than the one that the database was set up with", "global.upgrade.allowSecretChanges=true")
	}
	put("ENCRYPTION_KEY", "first")
	s.wantDone("1 migrations applied")
	s.wantDone("up to date")
	put("ENCRYPTION_KEY", "second")
	refused()
	// Whoever says so goes on, and what he has decided holds from then on.
	s.spec.Gate.Allow.SecretChanges = true
	s.wantDone("up to date")
	s.spec.Gate.Allow.SecretChanges = false
	s.wantDone("up to date")
	put("ENCRYPTION_KEY", "first")
	refused()
	// A Secret that was deleted would be made anew, with another key.
	s.spec.Gate.EncryptionKey.Secret = "made"
	s.spec.Secrets.Secrets = []hook.Secret{{Name: "made", Data: map[string]hook.SecretKey{"ENCRYPTION_KEY": {Generate: &hook.GenerateSpec{Bytes: 32}}}}}
	gone := func() {
		t.Helper()
		s.ran = nil
		s.wantRefused("Secret made in namespace nap has no ENCRYPTION_KEY, which the existing database was set up with",
			"put the Secret back", "global.upgrade.allowSecretChanges=true")
	}
	gone()
	// That also holds for the database of a release that was uninstalled, which can't be asked yet.
	s.server.Put(stopped)
	gone()
	s.server.Put(running)
	s.spec.Gate.Allow.SecretChanges = true
	s.wantDone("1 created", "up to date")
	s.spec.Gate.Allow.SecretChanges = false
	s.wantDone("1 kept", "up to date")
	s.spec.Gate.EncryptionKey.Secret = "mine"
	refused()
}
