//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backup"
)

// failingMigration upgrades six times to an image whose second migration fails, and keeps three backups. Between some
// attempts hours pass, so that the next one makes a backup of its own. The backup from before the first attempt is the
// one to go back to: it must still be there, and be good.
func failingMigration(t *testing.T, f *faults) ending {
	const attempts = 6
	f.toBase(t)
	kept := f.retention
	f.retention = 3
	t.Cleanup(func() { f.retention = kept })
	tables := f.lasting(t)
	earlier := f.wholeBackups(t)
	first := ""
	for attempt := range attempts {
		got := f.upgrade(t.Context(), "--wait", "--set", "global.images.controlPlane.tag=v0.2.2-broken",
			"--set", "global.backup.retention=3")
		wantRefused(t, got, time.Minute, "133_", "nap-prepare")
		if attempt == 0 {
			for name := range f.wholeBackups(t) {
				if _, old := earlier[name]; !old {
					first = name
				}
			}
			if first == "" {
				t.Fatal("the first attempt made no backup")
			}
		}
		if f.rand.IntN(3) > 0 {
			f.ageBackups(t, 7*time.Hour)
		}
	}
	left := f.wholeBackups(t)
	upgrades := 0
	for _, m := range left {
		if m.Kind == backup.Upgrade {
			upgrades++
		}
	}
	if left[first].Name == "" {
		t.Fatalf("backup %s, from before the first of %d attempts, is gone; left are %v", first, attempts, left)
	}
	if upgrades > f.retention {
		t.Errorf("%d backups of upgrades are left, want %d at most", upgrades, f.retention)
	}
	f.wantServes(t)
	f.plugin(t, 0, "", "backup", "restore", first, "--yes")
	if diff := cmp.Diff(tables, f.lasting(t)); diff != "" {
		t.Errorf("tables before the first attempt and after its backup was restored:\n%s", diff)
	}
	return asBefore
}

// ageBackups makes every backup older, as if that time had passed: the next upgrade that migrates makes one of its own.
func (f *faults) ageBackups(t *testing.T, by time.Duration) {
	t.Helper()
	var script strings.Builder
	for name, m := range f.wholeBackups(t) {
		fmt.Fprintf(&script, `sed -i 's/"time": "%s"/"time": "%s"/' /backups/%s/%s/backup.json%s`,
			m.Time.Format(time.RFC3339), m.Time.Add(-by).Format(time.RFC3339), f.name, name, "\n")
	}
	f.exec(t, f.backups, "toolbox", "", "sh", "-ec", script.String())
}

// volumeFull fills the volume of the backups while an upgrade dumps the database to it.
func volumeFull(t *testing.T, f *faults) ending {
	defer f.limitBackups(t, 48)()
	backups, pods := f.wholeBackups(t), f.podIdentities(t)
	// The dump waits for this table once its file is open.
	release := lockTable(t, f.database, "public.skill_versions IN ACCESS EXCLUSIVE MODE")
	defer release()
	done := f.begin(t, toTen...)
	eventually(t, 5*time.Minute, "pg_dump waits for the table", func(context.Context) (bool, string) {
		waiting := query(t, f.database, `SELECT count(*)::text FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND relation = 'public.skill_versions'::regclass AND query LIKE 'LOCK TABLE%'`)
		return waiting[0] != "0", "it does not"
	})
	filler := "/backups/" + f.name + "/filler"
	f.exec(t, f.backups, "toolbox", "", "sh", "-c", "dd if=/dev/zero of="+filler+" bs=64k 2>/dev/null || true")
	release()
	got := await(t, done, 5*time.Minute)
	wantRefused(t, got, 2*time.Minute,
		"the volume of PVC nap-backups is full", "global.backup.size", "nothing was migrated")
	if diff := cmp.Diff(pods, f.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after the refused upgrade:\n%s", diff)
	}
	if diff := cmp.Diff(f.before, schemaOf(t, f.database)); diff != "" {
		t.Errorf("the database before and after the refused upgrade:\n%s", diff)
	}
	f.exec(t, f.backups, "toolbox", "", "rm", filler)
	if diff := cmp.Diff(backups, f.wholeBackups(t)); diff != "" {
		t.Errorf("backups before and after the refused upgrade:\n%s", diff)
	}
	// There is room again.
	f.mustUpgrade(t, toTen...)
	return unfinished
}

// limitBackups gives the volume of the backups a file system of its own that has room for what is there and some MiB
// more, until the function is called that it returns. Volumes of the testbed are folders of a node.
func (f *faults) limitBackups(t *testing.T, more int) func() {
	t.Helper()
	claims := f.client.CoreV1().PersistentVolumeClaims(f.namespace)
	claim, err := claims.Get(t.Context(), "nap-backups", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume, err := f.client.CoreV1().PersistentVolumes().Get(t.Context(), claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	folder, name := filepath.Split(volume.Spec.HostPath.Path)
	keeper := &release{environment: f.environment, namespace: metav1.NamespaceDefault}
	keeper.keepMounts(t, claim.Annotations["volume.kubernetes.io/selected-node"], folder)
	do := func(script string) {
		t.Helper()
		keeper.exec(t, "mounts", "mounts", "", "sh", "-ec",
			strings.NewReplacer("VOLUME", "/volumes/"+name, "MORE", fmt.Sprint(more)).Replace(script))
		// The pod sees what the folder was when it started.
		f.replaceToolbox(t)
	}
	do(`rm -rf /tmp/copy; cp -a VOLUME /tmp/copy
size=$(( $(du -sk /tmp/copy | cut -f1) / 1024 + MORE ))
mount -t tmpfs -o size=${size}m,mode=777 tmpfs VOLUME
cp -a /tmp/copy/. VOLUME/`)
	return func() {
		do(`rm -rf /tmp/copy; cp -a VOLUME /tmp/copy
umount -l VOLUME
rm -rf VOLUME/* VOLUME/.[!.]*
cp -a /tmp/copy/. VOLUME/`)
		now := int64(0)
		pods := keeper.client.CoreV1().Pods(keeper.namespace)
		if err := pods.Delete(t.Context(), "mounts", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Error(err)
		}
	}
}

// keepMounts starts a pod whose mounts in a folder of the node are the node's.
func (r *release) keepMounts(t *testing.T, node, folder string) {
	t.Helper()
	privileged, both := true, corev1.MountPropagationBidirectional
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "mounts"},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{corev1.LabelHostname: node},
			Containers: []corev1.Container{{
				Name: "mounts", Image: "docker.io/library/busybox:1.35", Command: []string{"sleep", "86400"},
				SecurityContext: &corev1.SecurityContext{Privileged: &privileged},
				VolumeMounts:    []corev1.VolumeMount{{Name: "volumes", MountPath: "/volumes", MountPropagation: &both}},
			}},
			Volumes: []corev1.Volume{{Name: "volumes", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: folder},
			}}},
		},
	}
	if _, err := r.client.CoreV1().Pods(r.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "pod mounts is ready", func(ctx context.Context) (bool, string) {
		got, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && podReady(got), "it is not"
	})
}

// replaceToolbox starts the pod again that sees the backups.
func (f *faults) replaceToolbox(t *testing.T) {
	t.Helper()
	now := int64(0)
	pods := f.client.CoreV1().Pods(f.namespace)
	if err := pods.Delete(t.Context(), f.backups, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	f.backups = f.toolbox(t)
}
