// Package restorenote keeps the note of a restore: a ConfigMap that exists from before a restore touches anything until
// its services run again. It is what a restore needs to know beyond its client's life, and a lock: while it is there, no
// other restore, upgrade, rollback or reinstall may start the services or change the database. A rotation of the
// encryption key, which stops services too, has the same note.
package restorenote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Phase is how far a restore is. It only ever advances: what was touched once stays so.
type Phase string

// The phases.
const (
	// Preparing: the backup is checked and the databases are saved. Services run and nothing is changed.
	Preparing Phase = "preparing"
	// Stopping: services are being stopped. The databases are untouched.
	Stopping Phase = "stopping"
	// Restoring: the databases may be replaced, or one of them. In a rotation: credentials may have the new key.
	Restoring Phase = "restoring"
	// Restored: both databases are those of the backup. Services are being started. In a rotation: all credentials have
	// the new key.
	Restored Phase = "restored"
)

// Note is what a restore has to remember. Version 0.1.0 knew Backup, Safety and Replicas.
type Note struct {
	// Backup is what is being restored, Safety the backup of what was there before. Backup is empty in a rotation.
	Backup string `json:"backup"`
	Safety string `json:"safety,omitempty"`
	// Rotation is the name of the rotation whose note it is, "" for a restore.
	Rotation string `json:"rotation,omitempty"`
	// Earlier are the backups that earlier attempts made of what was there before them.
	Earlier []string `json:"earlier,omitempty"`
	// Replicas is how many pods each service had.
	Replicas map[string]int32 `json:"replicas"`
	// Phase is empty in a note of version 0.1.0.
	Phase Phase `json:"phase,omitempty"`
	// ID names the attempt, for the Job that replaces the databases: all runs of it belong together.
	ID      string    `json:"id,omitempty"`
	Started time.Time `json:"started,omitzero"`
	// Holder is the client that works on it; empty once that has ended and left the rest to another. Beat changes for as
	// long as it lives.
	Holder string `json:"holder,omitempty"`
	Beat   int64  `json:"beat,omitempty"`
	// Stopped are the services' Deployments once no pod of them was left. A service ran since if its Deployment is another
	// one now.
	Stopped map[string]Deployment `json:"stopped,omitempty"`
	// Owners are the field managers of the numbers of replicas before they were set to 0.
	Owners map[string]Owner `json:"owners,omitempty"`
}

// Deployment identifies what a Deployment asked for. Kubernetes raises the generation with each change of that.
type Deployment struct {
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
}

// Owner is a field manager.
type Owner struct {
	Manager     string `json:"manager"`
	Operation   string `json:"operation"`
	Subresource string `json:"subresource,omitempty"`
}

// Services are those that are stopped for a while: how many pods each had, and the field managers of these numbers.
type Services struct {
	Replicas map[string]int32 `json:"replicas"`
	Owners   map[string]Owner `json:"owners,omitempty"`
}

// Services are those that the restore stops.
func (n *Note) Services() Services { return Services{Replicas: n.Replicas, Owners: n.Owners} }

// Env is the variable that says where the Job that restores finds the note. The program of version 0.1.0 does not know it.
const Env = "RESTORE_NOTE"

// Keys of the ConfigMap. The Job that restores mounts it.
const (
	Key = "restore.json"
	// IDKey holds the ID alone, WorkspacesKey the ids of the workspaces that there are in the cluster, one a line.
	IDKey         = "id"
	WorkspacesKey = "workspaces"
)

// Read returns the note called name, and the ConfigMap it was read from; both are nil where there is none.
func Read(ctx context.Context, client *kube.Client, namespace, name string) (*Note, *corev1.ConfigMap, error) {
	config, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read ConfigMap %s in namespace %s: %w", name, namespace, err)
	}
	note, err := decode([]byte(config.Data[Key]), namespace, name)
	if err != nil {
		return nil, nil, err
	}
	return note, config, nil
}

// ReadMounted returns the note called name from the folder dir where its ConfigMap is mounted, nil where there is none.
func ReadMounted(dir, namespace, name string) (*Note, error) {
	raw, err := os.ReadFile(filepath.Join(dir, Key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s in namespace %s: %w", name, namespace, err)
	}
	return decode(raw, namespace, name)
}

func decode(raw []byte, namespace, name string) (*Note, error) {
	note := &Note{}
	if err := json.Unmarshal(raw, note); err != nil || note.Backup == "" && note.Rotation == "" {
		return nil, hook.Refusef(finding.BackupUnfinished,
			"scale the services of the release to the replicas that they should have, restore a backup if the database may be "+
				"half restored, and run kubectl delete configmap "+name+" --namespace "+namespace,
			"ConfigMap %s in namespace %s should say how far a restore is, and is not readable", name, namespace)
	}
	return note, nil
}

// Unfinished is the finding of a restore that has not ended: its services must not be started by anything else. name is
// the note's; an empty one stands for an installation without backups.
func Unfinished(ctx context.Context, client *kube.Client, namespace, name string) ([]finding.Finding, error) {
	if name == "" {
		return nil, nil
	}
	note, _, err := Read(ctx, client, namespace, name)
	if list := finding.Of(err); len(list) > 0 {
		return list, nil
	}
	if note == nil || err != nil {
		return nil, err
	}
	return []finding.Finding{note.Finding(namespace, name)}, nil
}

// What it is that has not ended.
func (n *Note) What() string {
	if n.Rotation != "" {
		return "the rotation of " + n.Rotation
	}
	return "the restore of backup " + n.Backup
}

// Finding says that the restore has not ended, what that means for the databases, and every way out.
func (n *Note) Finding(namespace, name string) finding.Finding {
	if n.Rotation != "" {
		return n.rotation(namespace, name)
	}
	why := "the databases may be half restored, and what the services write now would be lost or mixed with the backup"
	switch n.Phase {
	case Preparing, Stopping:
		why = "the databases are untouched so far, but they would be replaced under running services"
	case Restored:
		why = "the databases are restored, but its services are not all started"
	}
	return finding.Finding{
		ID: finding.BackupUnfinished, Severity: finding.Error,
		Object: fmt.Sprintf("ConfigMap %s in namespace %s", name, namespace),
		Found:  n.What() + n.since() + " has not ended",
		Why:    why,
		Fix:    "wait if it is still running; else " + n.WaysOut(namespace),
	}
}

func (n *Note) rotation(namespace, name string) finding.Finding {
	return finding.Finding{
		ID: finding.SecretsUnfinished, Severity: finding.Error,
		Object: fmt.Sprintf("ConfigMap %s in namespace %s", name, namespace),
		Found:  n.What() + n.since() + " has not ended",
		Why:    "services that start before its end may read another key than the one that credentials are encrypted with",
		Fix:    "wait if it is still running; else " + n.WaysOut(namespace),
	}
}

// NoBackup says why no backup is made while the restore has not ended.
func (n *Note) NoBackup(namespace, name string) finding.Finding {
	f := n.Finding(namespace, name)
	f.Why = "a backup of what is there now may hold half of two states"
	if n.Rotation != "" {
		f.Why = "the Secret may have another key by now than the credentials in the backup"
	}
	return f
}

// WaysOut are the commands that end the restore.
func (n *Note) WaysOut(namespace string) string {
	if n.Rotation != "" {
		return "finish it with helm neutree secrets rotate " + n.Rotation + " --namespace " + namespace
	}
	again := func(name string) string { return "helm neutree backup restore " + name + " --namespace " + namespace }
	finish := "finish it with " + again(n.Backup)
	switch n.Phase {
	case Preparing, Stopping:
		return finish + ", or give it up with helm neutree backup restore --abandon --namespace " + namespace
	case Restored:
		return finish
	}
	return finish + ", or restore another backup in its place with " + again(cmp.Or(n.Safety, "NAME")) + " --abandon"
}

func (n *Note) since() string {
	if n.Started.IsZero() {
		return ""
	}
	return " (started " + n.Started.UTC().Format(time.RFC3339) + ")"
}

// Delete deletes the note. None is fine.
func Delete(ctx context.Context, client *kube.Client, namespace, name string) error {
	err := client.Resource(kube.ConfigMaps, namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ConfigMap %s in namespace %s: %s", name, namespace, kube.Brief(err))
	}
	return nil
}
