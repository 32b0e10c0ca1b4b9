package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Owner is the release that a database belongs to. Only the database can say so: two releases with copies of the same
// Secrets, even in two Kubernetes clusters, look the same from outside.
type Owner struct {
	Release, Namespace string
	// Cluster is the UID of namespace kube-system, which identifies a Kubernetes cluster. It is empty where that could
	// not be read.
	Cluster string
}

// Known says whether there is an owner.
func (o Owner) Known() bool { return o.Release != "" }

// Is says whether o and other are the same release, as far as both are known.
func (o Owner) Is(other Owner) bool {
	return o.sameName(other) && (o.Cluster == other.Cluster || o.Cluster == "" || other.Cluster == "")
}

func (o Owner) sameName(other Owner) bool {
	return o.Release == other.Release && o.Namespace == other.Namespace
}

// Named is what global.upgrade.adoptDatabase must be for heir to take the database over from o. It names the previous
// owner, so that a value which stays set takes the database from no other release. The Kubernetes cluster is part of it
// where nothing else distinguishes the two.
func (o Owner) Named(heir Owner) string {
	if o.sameName(heir) {
		return o.Namespace + "/" + o.Release + "@" + o.Cluster
	}
	return o.Namespace + "/" + o.Release
}

// Admits says whether release may use the database of o: one without an owner, its own, or one that adopt names.
func (o Owner) Admits(release Owner, adopt string) bool {
	return !o.Known() || o.Is(release) || adopt == o.Named(release)
}

// OtherOwner is the finding for a database that belongs to another release.
func OtherOwner(owner, release Owner) finding.Finding {
	other := fmt.Sprintf("release %s in namespace %s", owner.Release, owner.Namespace)
	if owner.sameName(release) {
		other += " of another Kubernetes cluster (UID of namespace kube-system " + owner.Cluster + ")"
	}
	return finding.Finding{
		ID: finding.DatabaseOwner, Severity: finding.Error, Value: "global.database",
		Object: fmt.Sprintf("release %s in namespace %s", release.Release, release.Namespace),
		Found:  "the database belongs to " + other,
		Why:    "two releases on one database would run each other's jobs and overwrite each other's data",
		Fix: "use another database; or, if that release was moved here or is gone, uninstall it there and hand its " +
			"database over with --set global.upgrade.adoptDatabase=" + owner.Named(release),
	}
}

// Claim records that the database at databaseURL belongs to release, and refuses if it belongs to another one that
// adopt does not name. Of two releases that claim a database at once one is refused. Whether the database was empty when
// it was claimed for the first time is recorded too: see Standing.New.
func Claim(ctx context.Context, databaseURL string, release Owner, adopt string) error {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer Close(ctx, conn)
	if err := createOnce(ctx, conn, records); err != nil {
		return fmt.Errorf("create the schema neutree: %w", err)
	}
	empty, err := neverMigrated(ctx, conn)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		const claim = "INSERT INTO " + OwnerTable +
			" (release, namespace, cluster, began_empty) VALUES ($1, $2, $3, $4) ON CONFLICT (one) DO NOTHING"
		if _, err := tx.Exec(ctx, claim, release.Release, release.Namespace, release.Cluster, empty); err != nil {
			return err
		}
		owner, err := scanOwner(tx.QueryRow(ctx, selectOwner+" FOR UPDATE"))
		switch {
		case err != nil:
			return err
		case !owner.Admits(release, adopt):
			return hook.Refuse(OtherOwner(owner, release))
		case owner == release || owner.Is(release) && release.Cluster == "":
			return nil
		}
		_, err = tx.Exec(ctx, "UPDATE neutree.owner SET release = $1, namespace = $2, cluster = $3, claimed_at = now()",
			release.Release, release.Namespace, release.Cluster)
		return err
	})
	var refused *hook.Error
	if err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("record which release the database belongs to: %w", err)
	}
	return err
}

// neverMigrated says whether no migration of the platform has ever run in a database.
func neverMigrated(ctx context.Context, conn *pgx.Conn) (bool, error) {
	for _, source := range platform.MigrationSources() {
		held, err := readLedger(ctx, conn, source)
		if err != nil {
			return false, fmt.Errorf("read the ledger %s: %w", source.Ledger(), err)
		}
		if len(held) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// BeganEmpty says whether a release claimed the database when it was empty. No release before 0.2.0 recorded that.
func BeganEmpty(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var began bool
	err := conn.QueryRow(ctx, "SELECT began_empty FROM "+OwnerTable).Scan(&began)
	if errors.Is(err, pgx.ErrNoRows) || absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read whether the database was empty at first: %w", err)
	}
	return began, nil
}

// PutOwner records owner as the one of the database, whatever it said before, and whether the database began empty.
func PutOwner(ctx context.Context, conn *pgx.Conn, owner Owner, beganEmpty bool) error {
	err := createOnce(ctx, conn, records)
	if err == nil {
		_, err = conn.Exec(ctx, `INSERT INTO neutree.owner (release, namespace, cluster, began_empty) VALUES ($1, $2, $3, $4)
 ON CONFLICT (one) DO UPDATE SET release = excluded.release, namespace = excluded.namespace, cluster = excluded.cluster,
 began_empty = excluded.began_empty`, owner.Release, owner.Namespace, owner.Cluster, beganEmpty)
	}
	if err != nil {
		return fmt.Errorf("record which release the database belongs to: %w", err)
	}
	return nil
}

// ReadOwner reads which release a database belongs to.
func ReadOwner(ctx context.Context, conn *pgx.Conn) (Owner, error) {
	owner, err := scanOwner(conn.QueryRow(ctx, selectOwner))
	if errors.Is(err, pgx.ErrNoRows) || absent(err) {
		return Owner{}, nil
	}
	if err != nil {
		return Owner{}, fmt.Errorf("read which release the database belongs to: %w", err)
	}
	return owner, nil
}

const selectOwner = "SELECT release, namespace, cluster FROM " + OwnerTable

// OwnerTable is where a database says which release it belongs to. What is copied from one database to another leaves
// its rows out.
const OwnerTable = "neutree.owner"

func scanOwner(row pgx.Row) (Owner, error) {
	var o Owner
	err := row.Scan(&o.Release, &o.Namespace, &o.Cluster)
	return o, err
}
