// Package restorefromtest makes copies of backups in a folder, for tests.
package restorefromtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// Neutree is the release of the copies.
var Neutree = offsite.Release{Namespace: "nap", Name: "neutree"}

// Place is a folder with copies, and what made them.
type Place struct {
	// Dir is the folder, Store reads it.
	Dir   string
	Store offsite.Store
	// Identity decrypts the copies.
	Identity *age.X25519Identity
	// Escrow is what copies are made with.
	Escrow offsite.Escrow
	// Chart is the chart that the releases have, Version its version.
	Chart, Version string

	t *testing.T
}

// EncryptionKey is the key in the escrow.
const EncryptionKey = "a credential encryption key that is long enough"

// New has no copies yet. Releases have the chart's values with host set.
func New(t *testing.T, set ...string) *Place {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	p := &Place{t: t, Dir: t.TempDir(), Identity: identity, Chart: requirementtest.Umbrella(t)}
	if p.Store, err = offsite.NewFolder(p.Dir, ""); err != nil {
		t.Fatal(err)
	}
	ch, err := chart.Load(p.Chart)
	if err != nil {
		t.Fatal(err)
	}
	p.Version = ch.Metadata.Version
	p.Escrow = offsite.Escrow{Chart: p.Version, Revision: 3, Values: p.values(set...), Secrets: []offsite.EscrowSecret{
		{Name: "nap-cp-secret", Type: "Opaque", Labels: map[string]string{"app.kubernetes.io/instance": "neutree"},
			Data: map[string][]byte{"JWT_SECRET": []byte("a jwt secret"), "CREDENTIAL_ENCRYPTION_KEY": []byte(EncryptionKey)}},
		{Name: "ldap-bind", Existing: true, Value: "global.ldap.existingSecret", Data: map[string][]byte{"password": []byte("bind")}},
	}}
	return p
}

// KeyRecord recognises a key.
func KeyRecord(key string) migrate.KeyRecord {
	salt := []byte("a salt")
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(salt)
	return migrate.KeyRecord{Salt: salt, Digest: mac.Sum(nil)}
}

// values are those that a release has been rendered with.
func (p *Place) values(set ...string) string {
	p.t.Helper()
	ch, err := chart.Load(p.Chart)
	if err != nil {
		p.t.Fatal(err)
	}
	user := map[string]any{}
	for _, one := range append([]string{"global: {host: nap.example.com}"}, set...) {
		if err := yaml.Unmarshal([]byte(one), &user); err != nil {
			p.t.Fatal(err)
		}
	}
	rendered, err := chart.Render(ch, chart.Options{Release: "neutree", Namespace: "nap", Values: user,
		Kubernetes: chart.Kubernetes{Version: "1.34"}})
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := yaml.Marshal(rendered.Values)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// Copy makes a copy of a backup of a release.
func (p *Place) Copy(of offsite.Release, name string, at time.Time, change ...func(*backup.Metadata)) backup.Metadata {
	p.t.Helper()
	dir := p.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
		p.t.Fatal(err)
	}
	m := backup.Metadata{Name: name, Time: at, Reason: "by hand", Kind: backup.Manual, Release: of.Name, Revision: 3,
		Chart: p.Version, Server: "17.2", Ledgers: map[string][]string{"public.schema_migrations": {"127_x"}},
		Key: KeyRecord(EncryptionKey), Files: map[string]backup.File{}}
	for file, content := range map[string]string{
		backup.DatabaseFile: strings.Repeat("rows of the platform ", 5000), backup.AFSFile: "rows of AFS's",
	} {
		sum := sha256.Sum256([]byte(content))
		m.Files[file] = backup.File{Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
		m.Bytes += int64(len(content))
		if err := os.WriteFile(filepath.Join(dir, name, file), []byte(content), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, do := range change {
		do(&m)
	}
	raw, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name, backup.MetadataFile), raw, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	recipients, err := offsite.NewRecipients([]string{p.Identity.Recipient().String()}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	copier := offsite.Copier{Log: slog.New(slog.DiscardHandler), Store: p.Store, Dir: dir, Release: of, Recipients: recipients,
		PartBytes: 16 << 10, Escrow: func() (offsite.Escrow, error) {
			e := p.Escrow
			e.Format, e.Namespace, e.Release, e.Time = offsite.Format, of.Namespace, of.Name, at
			return e, nil
		}}
	if err := copier.Copy(p.t.Context(), m); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// LastPart is the key of the last part of a dump.
func (p *Place) LastPart() string {
	p.t.Helper()
	last := ""
	for object, err := range p.Store.List(p.t.Context(), "", true) {
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.Contains(object.Key, "/"+backup.DatabaseFile+".") && object.Key > last {
			last = object.Key
		}
	}
	if last == "" {
		p.t.Fatal("there is no part")
	}
	return last
}
