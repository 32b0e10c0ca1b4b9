//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// rows has a row in a table of every sort, and every type of column that the platform's schema has.
const rows = `INSERT INTO public.users (id, username, display_name, role, password_hash, created_at) VALUES
  ('u1', 'grace', E'Grace\t"Hopper" \\ ünï', 'user', '$argon2id$x', '2026-01-02 03:04:05.678901+02'), ('u2', 'alan', '', 'user', NULL, now());
INSERT INTO public.user_credentials VALUES ('c1', 'u1', 'github', decode('00ff1c5c0a0d09', 'hex'));
INSERT INTO public.oauth_clients VALUES ('o1', 'test', NULL, ARRAY['https://a/b', NULL, 'with,comma"and quote'], 'u1');
INSERT INTO public.mcp_catalog VALUES ('m1', 'tools', 'http://x/mcp', true);
INSERT INTO public.workspaces (id, owner_id, name, agent_type) SELECT 'w' || n, 'u1', 'workspace ' || n, 'claude-code' FROM generate_series(1, 20) n;
INSERT INTO public.sessions (id, workspace_id, title, pinned) SELECT 's' || n, 'w' || (n % 20 + 1), repeat('title ', n % 9), n % 3 = 0 FROM generate_series(1, 2000) n;
INSERT INTO public.session_messages (session_id, body) SELECT 's' || (n % 2000 + 1), jsonb_build_object('n', n, 'text', md5(n::text), 'deep', jsonb_build_array(null, true, 1.5)) FROM generate_series(1, 20000) n;
INSERT INTO public.ws_concurrency_slots VALUES ('w1', 1, now());
INSERT INTO public.skill_sources VALUES ('k1', 'https://skills', repeat('content', 5000));
INSERT INTO public.skill_versions VALUES ('k1', 1, NULL);
REFRESH MATERIALIZED VIEW public.admin_workspace_totals; REFRESH MATERIALIZED VIEW public.admin_daily_sessions;`

const lateDamage = `DELETE FROM public.session_messages WHERE id % 2 = 0; UPDATE public.sessions SET title = 'changed', state = 'busy';
DELETE FROM public.user_credentials; UPDATE public.users SET role = 'admin' WHERE id = 'u1'; TRUNCATE public.skill_versions, public.skill_sources;
REFRESH MATERIALIZED VIEW public.admin_workspace_totals;`

// Backups of a live release: refused when there is no room, found out when they are damaged, and restored byte for byte
// also when the client is killed in the middle.
func TestBackup(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	values := []string{"--set", "global.backup.size=64Mi", "--set", "global.backup.schedule=0 0 1 1 *"}
	r.mustUpgrade(t, append(values, "--wait")...)
	eventually(t, time.Minute, "the PVC that the schedule needs exists", func(ctx context.Context) (bool, string) {
		_, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Get(ctx, "nap-backups", metav1.GetOptions{})
		return err == nil, "it does not"
	})
	r.sql(t, "SET ROLE nap;"+rows)
	r.storeCredential(t)
	r.afsRows(t, "INSERT INTO dirs VALUES ('77aa', 'shared', '/data/afs/aa/77/77aa')")
	before, dirs := r.tables(t), r.afsRows(t)

	made := r.plugin(t, 0, "", "backup", "create", "--reason", "end to end")
	name := strings.TrimSpace(made.stdout)
	if err := backup.ValidateName(name); err != nil {
		t.Fatalf("backup create printed %q", made.stdout)
	}
	t.Logf("backup create: %s\n%s", made.took, made.stderr)
	toolbox := r.toolbox(t)

	t.Run("it is listed", func(t *testing.T) {
		var list []backup.Entry
		if err := json.Unmarshal([]byte(r.plugin(t, 0, "", "backup", "list", "-o", "json").stdout), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].Name != name || list[0].Schema != "127_skill_content_storage" || !list[0].AFS || list[0].Reason != "end to end" {
			t.Errorf("%+v", list)
		}
	})

	t.Run("a schedule makes one", func(t *testing.T) {
		r.fromSchedule(t, "by-schedule")
		eventually(t, 2*time.Minute, "the Job of the schedule is complete", func(ctx context.Context) (bool, string) {
			// Monitoring reads it.
			cron, err := r.client.BatchV1().CronJobs(r.namespace).Get(ctx, "nap-scheduled-backup", metav1.GetOptions{})
			return err == nil && cron.Status.LastSuccessfulTime != nil, "the CronJob has no last success"
		})
		listed := r.plugin(t, 0, "", "backup", "list", "-o", "json")
		wantSaid(t, listed, `schedule "0 0 1 1 *"; last success 20`)
		var list []backup.Entry
		if err := json.Unmarshal([]byte(listed.stdout), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].Kind != backup.Scheduled || !strings.HasPrefix(list[0].Name, "scheduled-") {
			t.Errorf("%+v", list)
		}
	})

	t.Run("a drill finds it good, after one whose client was killed", func(t *testing.T) { r.drill(t, name) })

	t.Run("a claim without room is named before anything is written", func(t *testing.T) {
		r.exec(t, toolbox, "toolbox", "", "dd", "if=/dev/zero", "of=/backups/neutree/filler", "bs=1M", "count=63")
		got := r.plugin(t, 2, "", "backup", "create")
		wantSaid(t, got, "the backup would not fit", "of the 64.0 MiB of claim nap-backups only", "raise global.backup.size")
		r.exec(t, toolbox, "toolbox", "", "rm", "/backups/neutree/filler")
	})

	t.Run("a damaged backup is not restored", func(t *testing.T) {
		r.exec(t, toolbox, "toolbox", "", "sh", "-c", fmt.Sprintf(`cd /backups/neutree && cp -r %s damaged && sed -i 's/"name": "%s"/"name": "damaged"/' damaged/backup.json && printf x | dd of=damaged/database.dump bs=1 seek=2000 conv=notrunc`, name, name))
		pods := r.podIdentities(t)
		got := r.plugin(t, 2, "", "backup", "restore", "damaged", "--yes")
		wantSaid(t, got, "backup damaged is damaged: database.dump", "restore another one")
		if diff := cmp.Diff(pods, r.podIdentities(t)); diff != "" {
			t.Errorf("refused, but pods changed:\n%s", diff)
		}
		r.plugin(t, 0, "", "backup", "delete", "damaged")
	})

	r.sql(t, "SET ROLE nap;"+lateDamage)
	r.afsRows(t, "DELETE FROM dirs", "INSERT INTO dirs VALUES ('beef', 'shared', '/lost')")

	t.Run("the release's name is asked for", func(t *testing.T) {
		got := r.plugin(t, 2, "nap\n", "backup", "restore", name)
		wantSaid(t, got, "This replaces the databases of release neutree", `nothing was changed: "nap" is not the release's name "neutree"`)
	})

	t.Run("a client that is killed leaves a restore to be finished", func(t *testing.T) {
		deployments := r.scales(t)
		killed := r.start(t, "backup", "restore", name, "--yes")
		eventually(t, 2*time.Minute, "the Job restores", func(ctx context.Context) (bool, string) {
			_, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, "nap-restore", metav1.GetOptions{})
			return err == nil, "there is no Job"
		})
		if err := killed.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = killed.Wait()
		refused := r.upgrade(t.Context(), values...)
		if words := "finish it with helm neutree backup restore " + name + " --namespace nap"; refused.err == nil ||
			!strings.Contains(refused.output, words) {
			t.Errorf("an upgrade meanwhile does not say %q: %v\n%s", words, refused.err, refused.output)
		}
		r.fromSchedule(t, "meanwhile")
		eventually(t, 2*time.Minute, "a scheduled backup gives way", func(ctx context.Context) (bool, string) {
			for _, pod := range r.pods(ctx, "batch.kubernetes.io/job-name=meanwhile") {
				for _, status := range pod.Status.ContainerStatuses {
					if ended := status.State.Terminated; ended != nil && ended.ExitCode == int32(hook.Busy) {
						return strings.Contains(ended.Message, "the restore of backup "+name), ended.Message
					}
				}
			}
			return false, "no pod has ended"
		})
		job, err := r.client.BatchV1().Jobs(r.namespace).Get(t.Context(), "meanwhile", metav1.GetOptions{})
		if err != nil || job.Status.Failed > 0 || len(job.Status.Conditions) > 0 {
			t.Errorf("a run that gives way counts as a failure: %+v, %v", job.Status, err)
		}
		got := r.plugin(t, 0, "neutree\n", "backup", "restore", name)
		if _, err := r.client.BatchV1().Jobs(r.namespace).Get(t.Context(), "meanwhile", metav1.GetOptions{}); err == nil {
			t.Error("the restore left the Job of the schedule running")
		}
		wantSaid(t, got, "taken up again", "backup "+name+" of ", "is restored", "what was there before is backup before-restore-")
		t.Logf("restore after a killed one: %s\n%s", got.took, got.stderr)
		if diff := cmp.Diff(deployments, r.scales(t)); diff != "" {
			t.Errorf("replicas before and after:\n%s", diff)
		}
		if owners := r.replicasOwners(t); slices.Contains(owners, kube.FieldManager) {
			t.Errorf("Helm 4 can't change replicas that belong to %v", owners)
		}
		if diff := cmp.Diff(before, r.tables(t)); diff != "" {
			t.Errorf("tables before and after:\n%s", diff)
		}
		if diff := cmp.Diff(dirs, r.afsRows(t)); diff != "" {
			t.Errorf("AFS's rows before and after:\n%s", diff)
		}
		r.login(t).do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	})

	t.Run("an upgrade that migrates makes one first", func(t *testing.T) {
		r.mustUpgrade(t, "--wait", "--set", "global.backup.size=64Mi", "--set", "global.images.controlPlane.tag=v0.2.1")
		var list []backup.Entry
		if err := json.Unmarshal([]byte(r.plugin(t, 0, "", "backup", "list", "-o", "json").stdout), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 4 || !strings.HasPrefix(list[0].Name, "before-r3-") || list[0].Schema != "127_skill_content_storage" {
			t.Errorf("%+v", list)
		}
	})
}

// storeCredential stores one as a user does, encrypted with the installation's key.
func (r *release) storeCredential(t testing.TB) {
	t.Helper()
	keys, err := r.client.CoreV1().Secrets(r.namespace).Get(t.Context(), keysSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.sql(t, fmt.Sprintf("INSERT INTO public.user_credentials VALUES ('c2', 'u1', 'gitlab', pgp_sym_encrypt('hunter2', '%s'))",
		keys.Data[encryptionKey]))
}

// drill kills the client of a drill, and has another one do it to its end: nothing of either is left.
func (r *release) drill(t *testing.T, name string) {
	pods := r.podIdentities(t)
	killed := r.start(t, "backup", "drill", name)
	eventually(t, 2*time.Minute, "the throw-away PostgreSQL has a pod", func(ctx context.Context) (bool, string) {
		return len(r.pods(ctx, "cnpg.io/cluster=nap-drill")) > 0, "there is none"
	})
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	got := r.plugin(t, 0, "", "backup", "drill")
	t.Logf("backup drill: %s\n%s%s", got.took, got.stderr, got.stdout)
	for _, word := range []string{" tables, as recorded", "one was decrypted", "the schema was up to date",
		"intact", "passed"} {
		if !strings.Contains(got.stdout, word) {
			t.Errorf("the report does not say %q:\n%s", word, got.stdout)
		}
	}
	if diff := cmp.Diff(pods, r.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after:\n%s", diff)
	}
	claims, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).List(t.Context(),
		metav1.ListOptions{LabelSelector: "cnpg.io/cluster=nap-drill"})
	if err != nil || len(claims.Items) > 0 {
		t.Errorf("%d PVCs are left, error %v", len(claims.Items), err)
	}
	secrets, err := r.client.CoreV1().Secrets(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		if strings.HasPrefix(secret.Name, "nap-drill") {
			t.Errorf("Secret %s is left", secret.Name)
		}
	}
	wantSaid(t, r.plugin(t, 0, "", "backup", "list"), "last drill 20", " passed (")
}

// fromSchedule creates a Job of the schedule, as kubectl create job --from does.
func (r *release) fromSchedule(t testing.TB, name string) {
	t.Helper()
	cron, err := r.client.BatchV1().CronJobs(r.namespace).Get(t.Context(), "nap-scheduled-backup", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	template := cron.Spec.JobTemplate
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: template.Labels, Annotations: map[string]string{"cronjob.kubernetes.io/instantiate": "manual"},
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob")),
		},
	}, Spec: template.Spec}
	if _, err := r.client.BatchV1().Jobs(r.namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func wantSaid(t *testing.T, got pluginResult, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(got.stderr, word) {
			t.Errorf("it does not say %q:\n%s", word, got.stderr)
		}
	}
}

type pluginResult struct {
	stdout, stderr string
	took           time.Duration
}

// start begins a command of the plugin as Helm would.
func (r *release) start(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := r.pluginCommand(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func (r *release) pluginCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	binary := os.Getenv("HELM_NEUTREE")
	if binary == "" {
		t.Fatal("HELM_NEUTREE is not set: run these tests by `make test-e2e`")
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "HELM_NAMESPACE="+r.namespace)
	return cmd
}

// plugin runs a command of the plugin and asserts its exit code.
func (r *release) plugin(t testing.TB, code int, stdin string, args ...string) pluginResult {
	t.Helper()
	cmd := r.pluginCommand(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("helm neutree %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, stderr.String())
	}
	return pluginResult{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began).Round(100 * time.Millisecond)}
}

// toolbox is a pod that has the claim of the backups at hand.
func (r *release) toolbox(t testing.TB) string {
	t.Helper()
	user := int64(1000)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "toolbox"},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &user},
			Containers: []corev1.Container{{
				Name: "toolbox", Image: "docker.io/library/busybox:1.35", Command: []string{"sleep", "86400"},
				VolumeMounts: []corev1.VolumeMount{{Name: "backups", MountPath: "/backups"}},
			}},
			Volumes: []corev1.Volume{{Name: "backups", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "nap-backups"},
			}}},
		},
	}
	if _, err := r.client.CoreV1().Pods(r.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the toolbox is ready", func(ctx context.Context) (bool, string) {
		got, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && podReady(got), "it is not"
	})
	return pod.Name
}

func (r *release) pods(ctx context.Context, selector string) []corev1.Pod {
	list, err := r.client.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil
	}
	return list.Items
}

// scales is how many pods each Deployment is meant to have.
func (r *release) scales(t testing.TB) map[string]int32 {
	t.Helper()
	list, err := r.client.AppsV1().Deployments(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scales := map[string]int32{}
	for _, deployment := range list.Items {
		scales[deployment.Name] = *deployment.Spec.Replicas
	}
	return scales
}

// replicasOwners are the field managers of the replicas of all Deployments.
func (r *release) replicasOwners(t testing.TB) []string {
	t.Helper()
	list, err := r.client.AppsV1().Deployments(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var owners []string
	for _, deployment := range list.Items {
		for _, entry := range deployment.ManagedFields {
			if entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:replicas"`) &&
				entry.Subresource != "status" {
				owners = append(owners, entry.Manager)
			}
		}
	}
	return owners
}
