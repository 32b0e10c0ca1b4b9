package platform

import (
	"fmt"
	"slices"
	"strings"
)

// MigrationSource is a folder of SQL files inside one service's image, and the ledger that the
// service itself keeps of them. Whoever applies the files must write the ledger exactly so, or
// the service would apply them again at its next start.
type MigrationSource struct {
	// Name is what the chart and nap-hooks call the source.
	Name string
	// ImageKey is the image under global.images that holds Dir.
	ImageKey string
	// Dir is the folder inside the image.
	Dir string
	// Schema is the schema of the ledger, which is always named schema_migrations.
	Schema string
	// IDPrefix goes before the file's name in the ledger.
	IDPrefix string
	// ResetSearchPath is set where the first file is a dump that blanks search_path for the session.
	ResetSearchPath bool
	// CredentialKey is set where a file may read app.credential_encryption_key.
	CredentialKey bool
}

// Ledger is the ledger's qualified name.
func (s MigrationSource) Ledger() string { return s.Schema + ".schema_migrations" }

// MigrationSources lists the sources in the order in which they are applied: a browser is a sandbox, so those of
// sandboxes come first.
func MigrationSources() []MigrationSource {
	return []MigrationSource{
		{Name: "control-plane", ImageKey: "controlPlane", Dir: "/app/migrations", Schema: "public", ResetSearchPath: true, CredentialKey: true},
		{Name: "gateway", ImageKey: "gateway", Dir: "/app/channel-gateway/migrations", Schema: "public", IDPrefix: "channel_", ResetSearchPath: true},
		{Name: "sandbox", ImageKey: "sandboxService", Dir: "/app/sandbox-service/migrations", Schema: "sandbox"},
		{Name: "browser", ImageKey: "browserService", Dir: "/app/browser-service/migrations", Schema: "browser"},
	}
}

// FindMigrationSource returns the source called name.
func FindMigrationSource(name string) (MigrationSource, error) {
	sources := MigrationSources()
	i := slices.IndexFunc(sources, func(s MigrationSource) bool { return s.Name == name })
	if i < 0 {
		var known []string
		for _, s := range sources {
			known = append(known, s.Name)
		}
		return MigrationSource{}, fmt.Errorf("there is no migration source %q, only %s", name, strings.Join(known, ", "))
	}
	return sources[i], nil
}

// SquashedID tells whether id belongs to a file that 001_init has replaced. Old ledgers hold such
// ids (002 to 114) without a file, and always will.
func SquashedID(id string) bool {
	return len(id) > 3 && id[3] == '_' && id[:3] >= "002" && id[:3] <= "114" && digits(id[:3])
}

func digits(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(b byte) bool { return b < '0' || b > '9' })
}

// BreakingMigrations are the ledger ids that an older release can't run on. All known ones only add.
func BreakingMigrations() []string { return nil }
