// Package restorefrom brings a release back from a copy of a backup outside the cluster: its Secrets, an install with
// its values, and its databases. What decrypts the copy stays with the client.
package restorefrom

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/offsite"
)

// Restore brings a release back. Each of its steps may be repeated: after a client that was killed the same call
// continues.
type Restore struct {
	Log    *slog.Logger
	Client *kube.Client
	// Exec copies the backup into the cluster, Helm installs the release.
	Exec backupjob.Exec
	Helm Helm
	// Namespace is the one to restore into.
	Namespace string
	// Copy is the copy of the backup, Escrow the Secrets and values in it.
	Copy   *offsite.Opened
	Escrow offsite.Escrow
	// Chart finds the chart to install, where one has to be.
	Chart func(ctx context.Context) (path string, err error)
	Options
}

// Options are a person's.
type Options struct {
	// Values is a values file to install with, in place of the values that were saved.
	Values []byte
	// NoInstall ends after the Secrets are created where the release is not installed: something else installs it.
	NoInstall bool
	// KeepSecrets keeps Secrets that have other values than the backup's.
	KeepSecrets bool
	// AllowNewer and AllowOtherKey are as of backupjob.
	AllowNewer, AllowOtherKey bool
}

// Plan is what a restore does.
type Plan struct {
	Release, Namespace string
	Backup             string
	// CreateNamespace says that the namespace is missing.
	CreateNamespace bool
	// Secrets are those to create.
	Secrets []offsite.EscrowSecret
	// Chart is the chart to install, "" where the release is installed already, and Values what to install it with.
	Chart  string
	Values []byte
	// Naming are values that name the backup's namespace, where that is another one.
	Naming []string
	// Files says what the cluster has of users' files.
	Files Files
	// Missing are keys of Secrets that were not saved.
	Missing []string

	// Await says that something else has to install the release.
	Await bool
	// fresh says that there is nothing in the namespace that the restore replaces.
	fresh bool
}

// Prepare finds out what there is to do, and changes nothing. It refuses with everything that is in the way.
func (r *Restore) Prepare(ctx context.Context) (*Plan, error) {
	m := r.Copy.Metadata
	p := &Plan{Release: m.Release, Namespace: r.Namespace, Backup: m.Name, Missing: r.Escrow.Missing}
	var err error
	if p.CreateNamespace, err = r.noNamespace(ctx); err != nil {
		return nil, err
	}
	problems := r.checkKey()
	var other []finding.Finding
	if p.Secrets, other, err = r.compareSecrets(ctx); err != nil {
		return nil, err
	}
	live, err := readInstalled(ctx, r.Client, r.Namespace, m.Release)
	if err != nil {
		return nil, err
	}
	ready, stopping := live.ready(r.Namespace, m.Release, r.needsChart())
	if live == nil {
		ready, err = r.applied(ctx)
		if err != nil {
			return nil, err
		}
	}
	problems = append(append(problems, other...), stopping...)
	p.Values = []byte(r.Escrow.Values)
	if !ready && len(stopping) == 0 {
		wrong, err := r.prepareInstall(ctx, p)
		if err != nil {
			return nil, err
		}
		problems = append(problems, wrong...)
	}
	at := placesOf(r.Namespace, p.Values)
	if p.Chart != "" {
		absent, err := r.absent(ctx, at)
		if err != nil {
			return nil, err
		}
		problems = append(problems, absent...)
	}
	if err := refuse(problems); err != nil {
		return nil, err
	}
	if p.Files, err = r.files(ctx, at); err != nil {
		return nil, err
	}
	if p.fresh, err = r.empty(ctx); err != nil {
		return nil, err
	}
	p.fresh = p.fresh && !ready && !at.External
	return p, nil
}

// needsChart is the oldest chart that the release may have, "" for any: the check of the restore compares the schemas. A
// backup before an upgrade names the chart of the upgrade, and has the schema of the previous one.
func (r *Restore) needsChart() string {
	m := r.Copy.Metadata
	if r.AllowNewer || cmp.Or(m.Kind, backup.KindOf(m.Name)) == backup.Upgrade {
		return ""
	}
	return m.Chart
}

// prepareInstall finds the chart and the values to install with.
func (r *Restore) prepareInstall(ctx context.Context, p *Plan) ([]finding.Finding, error) {
	if p.Await = r.NoInstall; p.Await {
		return nil, nil
	}
	var err error
	if p.Chart, err = r.Chart(ctx); err != nil {
		return nil, err
	}
	values, wrong, err := r.ownValues(p.Chart)
	if err != nil || len(wrong) > 0 {
		return wrong, err
	}
	p.Values, p.Naming = values, r.naming(values)
	return nil, nil
}

// applied says whether a tool that keeps no record, such as ArgoCD, has applied the release.
func (r *Restore) applied(ctx context.Context) (bool, error) {
	_, err := backupjob.Find(ctx, r.Client, r.Namespace, r.Copy.Metadata.Release)
	if slices.Contains(finding.Of(err).IDs(), string(finding.BackupRelease)) {
		return false, nil
	}
	return err == nil, err
}

func (r *Restore) noNamespace(ctx context.Context) (bool, error) {
	_, err := r.Client.GetMetadata(ctx, kube.Namespaces, "", r.Namespace)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, kube.Refused(err, "look for namespace %s", r.Namespace)
}

// Write says what is done, in order. The values are not part of it.
func (p *Plan) Write(w io.Writer) error {
	var said strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }
	line("Restore of backup %s as release %s in namespace %s:", p.Backup, p.Release, p.Namespace)
	if p.CreateNamespace {
		line("  create namespace %s", p.Namespace)
	}
	for _, secret := range p.Secrets {
		line("  create Secret %s", secret.Name)
	}
	switch {
	case p.Await:
		line("  end: release %s is not installed, and --no-install leaves that to you", p.Release)
		_, err := io.WriteString(w, said.String())
		return err
	case p.Chart != "":
		line("  install release %s from chart %s", p.Release, p.Chart)
	default:
		line("  keep release %s, which is installed", p.Release)
	}
	line("  copy backup %s into the PVC of backups", p.Backup)
	if !p.fresh {
		line("  save what the databases contain now")
	}
	line("  stop the services, replace the databases, start the services again")
	line("Not part of any backup:")
	for _, one := range p.Files.before() {
		line("  %s", one)
	}
	for _, one := range p.Naming {
		line("Warning: a value names the namespace of the backup (--values-out and --values change it): %s", one)
	}
	for _, one := range p.Missing {
		line("Warning: %s was not there when the backup was copied, so it is not restored", one)
	}
	_, err := io.WriteString(w, said.String())
	return err
}

// Run does what p says and returns one sentence on it.
func (r *Restore) Run(ctx context.Context, p *Plan) (string, error) {
	if p.CreateNamespace {
		if err := r.createNamespace(ctx); err != nil {
			return "", err
		}
	}
	if err := r.createSecrets(ctx, p.Secrets); err != nil {
		return "", err
	}
	if p.Await {
		return "", hook.Refusef(finding.BackupInstall,
			"install it with the values that --values-out writes, then run the same command again",
			"release %s is not installed in namespace %s; its Secrets are there now, and --no-install leaves the rest to you",
			p.Release, r.Namespace)
	}
	if p.Chart != "" {
		if err := r.install(ctx, p); err != nil {
			return "", err
		}
	}
	plan, err := backupjob.Find(ctx, r.Client, r.Namespace, p.Release)
	if err != nil {
		return "", err
	}
	runner := backupjob.New(r.Log, r.Client, r.Namespace, plan)
	runner.AllowOtherKey = r.AllowOtherKey
	_, err = runner.Push(ctx, r.Exec, p.Backup, func(w io.Writer) error { return WriteTar(ctx, w, r.Copy) })
	if err != nil {
		return "", fmt.Errorf("copy backup %s into the cluster: %w", p.Backup, err)
	}
	restore := backupjob.Restore{Runner: runner, Name: p.Backup, AllowNewer: r.AllowNewer, NoSafetyBackup: p.fresh}
	return restore.Run(ctx)
}

func (r *Restore) createNamespace(ctx context.Context) error {
	namespace := corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: r.Namespace}}
	err := r.Client.Create(ctx, kube.Namespaces, "", &namespace, false)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		r.Log.Info("namespace created", "name", r.Namespace)
	}
	return kube.Refused(err, "create namespace %s", r.Namespace)
}

// installTime is how long Helm gets for the install where no deadline says: its own default is too short for one.
const installTime = 15 * time.Minute

// install installs the release, or completes an install that failed. The values go through a pipe, and are in no file.
func (r *Restore) install(ctx context.Context, p *Plan) error {
	wait := installTime
	if deadline, has := ctx.Deadline(); has {
		wait = max(time.Until(deadline), time.Second)
	}
	r.Log.Info("installing the release", "release", p.Release, "chart", p.Chart)
	err := r.Helm.Run(ctx, p.Values, "upgrade", "--install", p.Release, p.Chart, "--namespace", p.Namespace,
		"--values", "-", "--wait", "--timeout", wait.Round(time.Second).String())
	if err != nil {
		return fmt.Errorf("install release %s in namespace %s: %w; what is there stays, and the same command continues",
			p.Release, p.Namespace, err)
	}
	return nil
}

// WriteTar decrypts a copy and writes it as a tar.
func WriteTar(ctx context.Context, w io.Writer, from *offsite.Opened) error {
	return backup.WriteTar(w, from.Metadata, func(name string) (io.ReadCloser, error) {
		return from.Open(ctx, name), nil
	})
}
