package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Standing is how a release stands to a database, as far as our own records tell: its images are not asked.
type Standing struct {
	// Empty is a database in which no migration of the platform has ever run: there is nothing in it to lose.
	Empty bool
	// Unknown are the sources whose set is not recorded: these images have never migrated this database.
	Unknown []string
	// Ahead are ledger ids that the recorded sets do not hold: a newer release has been here.
	Ahead []string
	// Breaking are those of Ahead that an older release can't run on.
	Breaking []string
	// Key recognises the key that stored credentials are encrypted with.
	Key KeyRecord
	// Owner is the release that the database belongs to.
	Owner Owner
	// Server is the major version of PostgreSQL.
	Server int
	// New says that a release has claimed the database when it was empty, so that this version or a later one installed
	// the platform.
	New bool
}

// Compare says how the folders' sets stand to the database at databaseURL. It only reads.
func Compare(ctx context.Context, databaseURL string, folders []hook.Migration) (Standing, error) {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return Standing{}, fmt.Errorf("connect to the database: %w", err)
	}
	defer Close(ctx, conn)
	s := Standing{Empty: true}
	if s.Key, err = readKey(ctx, conn); err != nil {
		return s, err
	}
	if s.Owner, err = ReadOwner(ctx, conn); err != nil {
		return s, err
	}
	if s.New, err = BeganEmpty(ctx, conn); err != nil {
		return s, err
	}
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&s.Server); err != nil {
		return s, fmt.Errorf("read the server's version: %w", err)
	}
	breaking, err := breakingIDs(ctx, conn)
	if err != nil {
		return s, fmt.Errorf("read which migrations are breaking: %w", err)
	}
	for _, folder := range folders {
		source, err := platform.FindMigrationSource(folder.Source)
		if err != nil {
			return s, hook.Errorf(hook.Usage, "%w", err)
		}
		ids, recorded, err := recordedIDs(ctx, conn, folder.Set)
		if err != nil {
			return s, fmt.Errorf("read the record of migration sets: %w", err)
		}
		held, err := readLedger(ctx, conn, source)
		if err != nil {
			return s, fmt.Errorf("read the ledger %s: %w", source.Ledger(), err)
		}
		if len(held) > 0 {
			s.Empty = false
		}
		if !recorded {
			s.Unknown = append(s.Unknown, folder.Source)
		}
		for id := range held {
			if owner, ok := ownerOf(source.Ledger(), id); !ok || owner != source.Name || platform.SquashedID(id) || slices.Contains(ids, id) {
				continue
			}
			if recorded {
				s.Ahead = append(s.Ahead, source.Ledger()+" "+id)
			}
			if slices.Contains(breaking, id) {
				s.Breaking = append(s.Breaking, id)
			}
		}
	}
	slices.Sort(s.Ahead)
	slices.Sort(s.Breaking)
	return s, nil
}

// recordedIDs are the ids of the files that a set had.
func recordedIDs(ctx context.Context, conn *pgx.Conn, set string) (ids []string, recorded bool, err error) {
	var raw string
	err = conn.QueryRow(ctx, "SELECT ids::text FROM neutree.migration_sets WHERE set_hash = $1 AND ids IS NOT NULL", set).Scan(&raw)
	if errors.Is(err, pgx.ErrNoRows) || absent(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return ids, true, json.Unmarshal([]byte(raw), &ids)
}

// OfSources are those of ahead, as a Standing or a Plan has them, that belong to one of sources.
func OfSources(ahead, sources []string) []string {
	var kept []string
	for _, entry := range ahead {
		ledger, id, _ := strings.Cut(entry, " ")
		if owner, _ := ownerOf(ledger, id); slices.Contains(sources, owner) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// newFolders are the sources of folders whose set has never been applied here. One that has, and is still running, is
// not older than the database for what an upgrade that failed since has applied.
func newFolders(ctx context.Context, conn *pgx.Conn, folders []hook.Migration) ([]string, error) {
	var sources []string
	for _, folder := range folders {
		_, recorded, err := recordedIDs(ctx, conn, folder.Set)
		if err != nil {
			return nil, fmt.Errorf("read the record of migration sets: %w", err)
		}
		if !recorded {
			sources = append(sources, folder.Source)
		}
	}
	return sources, nil
}

// breakingIDs are those that this program knows and those that a newer one has recorded.
func breakingIDs(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, "SELECT id FROM neutree.breaking_migrations")
	var ids []string
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if absent(err) {
		err = nil
	}
	return append(ids, platform.BreakingMigrations()...), err
}

// Older is the finding for a release that is older than the database.
func Older(ahead []string) finding.Finding {
	return finding.Finding{
		ID: finding.UpgradeOlderImages, Severity: finding.Error, Value: "global.images",
		Found: fmt.Sprintf("these images are older than the database: it holds migrations that they do not know (%s)", strings.Join(ahead, ", ")),
		Fix: "upgrade to images as new as the database's; or go on with older ones, which mostly works where migrations only added " +
			"something, by --set global.upgrade.allowOlderImages=true; or restore a backup from before those migrations",
	}
}
