// Package examine looks at a database before anything writes to it. Whatever brings a release up asks it the same: the
// hook before an install or upgrade, and the Job of the main phase, which also runs where a tool leaves hooks out.
package examine

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// Release is what a revision brings along to its database.
type Release struct {
	// Owner is the release itself.
	Owner migrate.Owner
	// Sets are what its services wait for. Where they name folders, the files in them are compared too.
	Sets []hook.Migration
	// New are the sources whose images must not be older than the database: those that do not run yet. It is asked for
	// them only where the database is ahead. A nil New stands for all sources.
	New func(context.Context, Database) ([]string, error)
	// Key is the key that the release's Secret has.
	Key Key
	// Allow are the reasons that a person has decided to pass.
	Allow hook.GateOverrides
}

// Key is the key that credentials in the database are to be read with.
type Key struct {
	// Secret and Name say where it is, for messages. An empty Name asks nothing about the key.
	Secret, Name string
	// Value is empty where the Secret, or the key in it, does not exist.
	Value string
}

// Database is what a database says of itself.
type Database struct {
	// Asked is false where it could not be asked: only that it holds data is known then.
	Asked bool
	migrate.Standing
	// Pending are the files that would be applied, as far as folders were compared.
	Pending []migrate.File
}

// HoldsData says whether there is something in the database to lose.
func (d Database) HoldsData() bool { return !d.Asked || !d.Empty || d.Key.Known() }

// Read asks the database at url. It changes nothing.
func Read(ctx context.Context, url string, sets []hook.Migration) (Database, error) {
	standing, err := migrate.Compare(ctx, url, sets)
	if err != nil {
		return Database{}, err
	}
	db := Database{Asked: true, Standing: standing}
	if len(sets) == 0 || sets[0].Dir == "" {
		return db, nil
	}
	plan, err := migrate.Migrator{URL: url}.Plan(ctx, sets)
	if err != nil {
		return Database{}, err
	}
	db.Ahead, db.Pending = plan.Ahead, plan.Pending
	return db, nil
}

// question is one thing to ask of a database.
type question func(context.Context, Database, Release) ([]finding.Finding, error)

// questions are all of them. Another reason to keep from a database belongs here: each way to it then knows.
var questions = []question{owner, encryptionKey, olderImages, server}

// Judge says what forbids the release to use the database.
func Judge(ctx context.Context, db Database, release Release) ([]finding.Finding, error) {
	var findings []finding.Finding
	for _, ask := range questions {
		found, err := ask(ctx, db, release)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// owner asks whether the database belongs to another release.
func owner(_ context.Context, db Database, release Release) ([]finding.Finding, error) {
	if db.Owner.Admits(release.Owner, release.Allow.AdoptDatabase) {
		return nil, nil
	}
	return []finding.Finding{migrate.OtherOwner(db.Owner, release.Owner)}, nil
}

// encryptionKey compares the key that services will get with the one that the database was set up with: only the
// database knows when the content of a Secret has changed. Where there is none, another one would be generated.
func encryptionKey(_ context.Context, db Database, release Release) ([]finding.Finding, error) {
	key := release.Key
	switch {
	case key.Name == "" || release.Allow.SecretChanges || !db.HoldsData():
		return nil, nil
	case key.Value == "":
		return []finding.Finding{{
			ID: finding.UpgradeEncryptionKey, Severity: finding.Error,
			Object: fmt.Sprintf("Secret %s/%s", release.Owner.Namespace, key.Secret),
			Found: fmt.Sprintf("Secret %s in namespace %s has no %s, which the existing database was set up with",
				key.Secret, release.Owner.Namespace, key.Name),
			Why: "credentials which users have stored could not be read any more",
			Fix: "put the Secret back, or, if it is lost, --set global.upgrade.allowSecretChanges=true",
		}}, nil
	case !db.Key.Known() || db.Key.Matches(key.Value):
		return nil, nil
	}
	secret := fmt.Sprintf("Secret %s in namespace %s", key.Secret, release.Owner.Namespace)
	return []finding.Finding{migrate.OtherKey(secret, key.Name)}, nil
}

// olderImages asks for migrations of a newer release that images which do not run yet lack.
func olderImages(ctx context.Context, db Database, release Release) ([]finding.Finding, error) {
	ahead := db.Ahead
	if len(ahead) == 0 || release.Allow.OlderImages {
		return nil, nil
	}
	if release.New != nil {
		sources, err := release.New(ctx, db)
		if err != nil {
			return nil, err
		}
		ahead = migrate.OfSources(ahead, sources)
	}
	if len(ahead) == 0 {
		return nil, nil
	}
	return []finding.Finding{migrate.Older(ahead)}, nil
}

// server asks whether PostgreSQL is as new as the platform needs.
func server(_ context.Context, db Database, _ Release) ([]finding.Finding, error) {
	if !db.Asked || db.Server >= migrate.OldestServer {
		return nil, nil
	}
	return []finding.Finding{{
		ID: finding.DatabaseServer, Severity: finding.Error, Value: "global.images.postgresql",
		Found: fmt.Sprintf("the database runs PostgreSQL %d, and the platform needs %d or newer",
			db.Server, migrate.OldestServer),
		Fix: "upgrade PostgreSQL first, with the images of the services as they are",
	}}, nil
}

// Owner identifies a release. The Kubernetes cluster stays unknown where its identity may not be read.
func Owner(ctx context.Context, client *kube.Client, namespace, release string) (migrate.Owner, error) {
	owner := migrate.Owner{Release: release, Namespace: namespace}
	system, err := client.Resource(kube.Namespaces, "").Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return owner, nil
	case err != nil:
		return owner, fmt.Errorf("read namespace %s, which identifies the cluster: %s",
			metav1.NamespaceSystem, kube.Brief(err))
	}
	owner.Cluster = string(system.GetUID())
	return owner, nil
}
