// Package bootstrap does in the main phase of a release what no template can: it brings up the
// database once its operator serves, prepares the namespace of the workspaces, and migrates.
//
// Every step may be repeated at any time, also by two runs at once.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/examine"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/nodeport"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

// The databases that a release can use: a Cluster of ours, or one from outside.
const (
	modeCNPG     = "cnpg"
	modeExternal = "external"
)

// Bootstrap runs the steps.
type Bootstrap struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.BootstrapSpec
	// DatabaseURL is where the platform's database answers, with the password.
	DatabaseURL string
	// CredentialKey is shown to the migrations that may need it.
	CredentialKey string
	// Jobs runs the Job that saves the database; nil for those of the cluster.
	Jobs jobrun.Jobs
	// ResolvConf is the file that names the name servers of pods; empty for none.
	ResolvConf string
	// Families are the IP families of the cluster's pods.
	Families egress.Families
	// OperatorTime is how long an operator from outside may take to look at a new Cluster; 0 means 50 seconds.
	OperatorTime time.Duration

	// spent is the time that steps have taken.
	spent time.Duration
	// precedence keeps scheduled backups from the database from its own backup on.
	precedence migrate.Precedence
	// unknown is how many workspaces the database does not know.
	unknown int
}

// Summary says in one line what a run has done, and how many workspaces need a person: the log has their names.
func (b *Bootstrap) Summary(result migrate.Result) string {
	if b.unknown == 0 {
		return result.String()
	}
	return fmt.Sprintf("%s; %d workspaces in namespace %s are unknown to the database and were not started: "+
		"the log names them", result, b.unknown, b.Spec.Workspaces.Namespace)
}

// Run does all steps in order and returns what the migrations did.
func (b *Bootstrap) Run(ctx context.Context) (migrate.Result, error) {
	var result migrate.Result
	if err := validate(b.Spec); err != nil {
		return result, hook.Errorf(hook.Usage, "spec: %w", err)
	}
	if _, err := migrate.Config(b.DatabaseURL); err != nil {
		return result, err
	}
	b.precedence = migrate.Precedence{Log: b.Log, URL: b.DatabaseURL}
	defer b.precedence.End(ctx)
	var cluster *database.Cluster
	if b.Spec.Database.Mode == modeCNPG {
		cluster = database.New(b.Log, b.Client, b.Spec.Namespace, b.Spec.Database.Cluster)
	}
	var db examine.Database
	steps := []step{
		// First: Helm may roll back at any time.
		{"node port", b.nodePort},
		{"unfinished restore", b.unfinishedRestore},
		{"storage classes", b.storageClasses},
		{"database", func(ctx context.Context) error { return b.applyCluster(ctx, cluster) }},
		{"workspace namespace", b.workspaces},
		{"shared claim", b.sharedClaim},
		{"primary", func(ctx context.Context) error { return b.waitForSQL(ctx, cluster) }},
		{"examination", func(ctx context.Context) (err error) {
			db, err = b.examine(ctx, cluster)
			return err
		}},
		{"egress of workspaces", func(ctx context.Context) error { return b.egress(ctx, db) }},
		{backup, func(ctx context.Context) error { return b.save(ctx, db) }},
		{"migrations", func(ctx context.Context) (err error) {
			// The backup may have taken as long as a restore needs to begin.
			if err := b.unfinishedRestore(ctx); err != nil {
				return err
			}
			result, err = b.migrator().Apply(ctx, b.Spec.Set, b.Spec.Migrations)
			return err
		}},
		{"stopped workspaces", b.resume},
		{"claim of scheduled backups", b.backupClaim},
	}
	for i, step := range steps {
		b.Log.Info("step", "name", step.name, "number", i+1, "of", len(steps))
		if err := b.limited(ctx, step); err != nil {
			return result, err
		}
	}
	b.Log.Info("bootstrap done", "set", b.Spec.Set, "migrations", result.String())
	return result, nil
}

// step is one of the steps, by its name in the log.
type step struct {
	name string
	do   func(context.Context) error
}

// backup is the step that is not bounded by the time of the others: a dump may take much longer than all of them.
const backup = "backup"

// limited does a step within what is left of the time for all of them.
func (b *Bootstrap) limited(ctx context.Context, step step) error {
	if b.Spec.Seconds == 0 || step.name == backup {
		return step.do(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(b.Spec.Seconds)*time.Second-b.spent)
	defer cancel()
	began := time.Now()
	err := step.do(limited)
	b.spent += time.Since(began)
	return hook.Stopped(limited, err)
}

func (b *Bootstrap) migrator() migrate.Migrator {
	return migrate.Migrator{URL: b.DatabaseURL, CredentialKey: b.CredentialKey, Log: b.Log}
}

func (b *Bootstrap) applyCluster(ctx context.Context, cluster *database.Cluster) error {
	if cluster == nil {
		return nil
	}
	manifest, err := database.ReadManifest(b.Spec.Database.Manifest)
	if err != nil {
		return err
	}
	if err := cluster.WaitForCRD(ctx); err != nil {
		return err
	}
	b.protectDefinitions(ctx)
	return cluster.Apply(ctx, manifest)
}

// resume starts what an uninstall stopped. The platform is complete by then, so a workspace that can't be
// started is no reason to fail: its user can start it too.
func (b *Bootstrap) resume(ctx context.Context) error {
	if b.Spec.Workspaces.Namespace == "" {
		return nil
	}
	if err := b.holdUnknown(ctx); err != nil {
		b.Log.Warn("no workspace that an uninstall stopped is started again: start them in the web interface",
			"cause", kube.Brief(err))
		return nil
	}
	started, err := workspaces.Resume(ctx, b.Client, b.Spec.Workspaces.Namespace)
	if started > 0 {
		b.Log.Info("workspaces that an uninstall stopped are started again", "count", started)
	}
	if err != nil {
		b.Log.Warn("not every workspace that an uninstall stopped could be started: start it in the web interface", "cause", kube.Brief(err))
	}
	return nil
}

// nodePort says which paths the node port opens, and lets a rollback to version 0.1.0 have it. Renderers such as ArgoCD
// show no notes of the release, so the log says it too.
func (b *Bootstrap) nodePort(ctx context.Context) error {
	if port := b.Spec.OpenNodePort; port != 0 {
		b.Log.Warn("the node port opens all paths of the control plane, /mcp and /metrics included, to everyone who "+
			"reaches a node: set global.exposure.internalPaths=closed to close those that only workspaces and services use", "port", port)
	}
	front := b.Spec.Front
	if front.Service == "" {
		return nil
	}
	if err := nodeport.Tie(ctx, b.Client, b.Spec.Namespace, front.Service, front.ConfigMap, b.labels()); err != nil {
		b.Log.Warn("before a rollback to version 0.1.0, delete Service "+front.Service+": Helm would give its node port to "+
			"another Service while it still has it", "cause", kube.Brief(err))
	}
	return nil
}

func (b *Bootstrap) waitForSQL(ctx context.Context, cluster *database.Cluster) error {
	if cluster == nil {
		return database.PrepareExternal(ctx, b.Log, b.DatabaseURL, *b.Spec.Database.External)
	}
	if b.Spec.Operator == nil {
		return cluster.WaitForSQLElsewhere(ctx, b.DatabaseURL, b.OperatorTime)
	}
	return cluster.WaitForSQL(ctx, b.DatabaseURL)
}

// validate reports what a spec that decodes still lacks.
func validate(spec hook.BootstrapSpec) error {
	switch {
	case spec.Namespace == "":
		return errors.New("namespace is empty")
	case spec.Set == "" || len(spec.Migrations) == 0:
		return errors.New("set or migrations is empty")
	case spec.Database.Mode != modeCNPG && spec.Database.Mode != modeExternal:
		return fmt.Errorf("database.mode is %q, neither %s nor %s", spec.Database.Mode, modeCNPG, modeExternal)
	case spec.Database.Mode == modeCNPG && (spec.Database.Cluster == "" || spec.Database.Manifest == ""):
		return errors.New("database.cluster or database.manifest is empty")
	case spec.Database.Mode == modeExternal && spec.Database.External == nil:
		return errors.New("database.external is missing")
	}
	return nil
}
