package prepare

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"
	running   = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: \"off\"}}\nspec: {imageName: \"registry.test/postgresql:17.10\", storage: {size: 10Gi}}\nstatus: {currentPrimary: nap-pg-1}\n"
	stopped   = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: \"on\"}}\n"
	jobPath   = "/apis/batch/v1/namespaces/nap/jobs/nap-bootstrap-1"
	activeJob = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-bootstrap-1, namespace: nap}\nstatus: {active: 1}\n"
	failedJob = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-bootstrap-1, namespace: nap}\nstatus: {conditions: [{type: Failed, status: \"True\"}]}\n"
)

// stage is a release before an upgrade: what the API server holds, a database, and what the Jobs would do.
type stage struct {
	*testing.T
	server *kubetest.Server
	spec   hook.PrepareSpec
	url    string
	// mu guards ran, the Jobs that ran, with the image of each container.
	mu  sync.Mutex
	ran []string
	// outcome, when set, is how the Job of that name ends; the one that migrates really migrates.
	outcome map[string]error
	// during, when set, is called while a Job is at work.
	during func(job string)
	folder hook.Migration
	// answerTime is how long the database may take to answer, if not the usual time.
	answerTime time.Duration
	// compareTime is how long the operator may take to say what would change, if not the usual time.
	compareTime time.Duration
	// judgeTime is how long a dry run may stay without an answer, if not the usual time.
	judgeTime time.Duration
	// stopTime bounds the wait for what an earlier upgrade left running, and log is what was said meanwhile.
	stopTime time.Duration
	log      bytes.Buffer
	// changeTime is how long a change of the database may take, if not the usual time.
	changeTime time.Duration
}

func newStage(t *testing.T, url string, objects ...string) *stage {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	job := func(name string) string {
		return write(name+".yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-"+name+"}\nspec: {template: {metadata: {labels: {app: nap-"+name+"}}, spec: {containers: [{name: "+name+", image: \"registry.test/hooks:1\"}]}}}\n")
	}
	sql := filepath.Join(dir, "sql")
	if err := os.Mkdir(sql, 0o700); err != nil {
		t.Fatal(err)
	}
	write("sql/001_first.sql", "CREATE TABLE first (id int);")
	s := &stage{T: t, url: url, server: kubetest.New(t, append([]string{namespace}, objects...)...), outcome: map[string]error{}}
	s.folder = hook.Migration{Source: "control-plane", Dir: sql, Set: "set-1"}
	s.spec = hook.PrepareSpec{
		Namespace: "nap",
		Gate:      hook.GateSpec{ConfigMap: "neutree-installation", Release: "neutree"},
		Secrets:   hook.SecretsSpec{Namespace: "nap"},
		Pull:      hook.PullSpec{Job: job("pull"), Seconds: 60},
		Migrate: hook.MigrateJob{
			Cluster: "nap-pg", URL: hook.SecretRef{Secret: "nap-database", Key: "url"}, FailedJob: "nap-bootstrap-1",
			Sets: []hook.Migration{{Source: "control-plane", Set: "set-1"}}, Job: job("migrate"),
		},
		Seed: hook.SeedJob{Job: job("seed"), Spec: write("seeds", "set: whole\nseeds: [{name: admin, command: [seed-admin]}]\n")},
	}
	s.spec.Gate.Manifest = write("cluster.yaml", "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg}\nspec: {imageName: \"registry.test/postgresql:17.10\", storage: {size: 10Gi}}\n")
	if url != "" {
		s.server.Put(secretYAML("nap-database", "url", url))
	}
	return s
}

// saves has the upgrade make a backup first.
func (s *stage) saves() {
	s.Helper()
	path := filepath.Join(s.TempDir(), backupjob.PlanFile)
	plan := `release: neutree
revision: 2
cluster: nap-pg
claim: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: nap-backups}, spec: {resources: {requests: {storage: 1Gi}}}}
create: &job {apiVersion: batch/v1, kind: Job, metadata: {name: nap-backup}, spec: {template: {spec: {containers: [{name: backup, image: "registry.test/other:1"}]}}}}
restore: *job
writers: [nap-cp]
`
	if err := os.WriteFile(path, []byte(plan), 0o600); err != nil {
		s.Fatal(err)
	}
	s.spec.Migrate.Backup = path
}

func secretYAML(name, key, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: nap}\ndata: {%s: %q}\n", name, key, base64Of(value))
}

// Run plays the Jobs.
func (s *stage) Run(ctx context.Context, job *batchv1.Job) (string, error) {
	line := job.Name
	for _, c := range job.Spec.Template.Spec.Containers {
		line = strings.TrimSpace(line + " " + c.Image + " " + strings.Join(c.Args, " "))
	}
	if job.Name != "nap-seed" {
		s.mu.Lock()
		s.ran = append(s.ran, line)
		s.mu.Unlock()
	}
	if s.during != nil {
		s.during(line)
	}
	if err := s.outcome[job.Name]; err != nil {
		return "", err
	}
	if job.Name != "nap-migrate" {
		return job.Name + " done", nil
	}
	args := job.Spec.Template.Spec.Containers[0].Args
	m := migrate.Migrator{URL: s.url, Log: slog.New(slog.DiscardHandler), UnlessPending: len(args) > 0 && args[len(args)-1] == unlessPending}
	result, err := m.Apply(ctx, "whole", []hook.Migration{s.folder})
	return result.String(), err
}

func (s *stage) prepare() (string, error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), reserve+30*time.Second)
	defer cancel()
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	return (&Prepare{
		Log: log, Client: s.server.Client(), Spec: s.spec, Jobs: s, AnswerTime: s.answerTime, CompareTime: s.compareTime,
		ChangeTime: s.changeTime, StopTime: s.stopTime, JudgeTime: s.judgeTime,
	}).Run(ctx)
}

// wantRefused asserts that nothing ran, and that the reason is told.
func (s *stage) wantRefused(words ...string) {
	s.Helper()
	summary, err := s.prepare()
	if hook.CodeOf(err) != hook.Refused {
		s.Fatalf("exit %d: %q, %v", hook.CodeOf(err), summary, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			s.Errorf("the reason does not say %q: %v", word, err)
		}
	}
	if len(s.ran) > 0 {
		s.Errorf("refused, and yet it ran %v", s.ran)
	}
}

func (s *stage) wantDone(words ...string) {
	s.Helper()
	summary, err := s.prepare()
	if err != nil {
		s.Fatal(err)
	}
	for _, word := range words {
		if !strings.Contains(summary, word) {
			s.Errorf("the summary does not say %q: %s", word, summary)
		}
	}
}

func (s *stage) migrated() bool {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), s.url)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(s.Context())) }()
	var exists bool
	if err := conn.QueryRow(s.Context(), "SELECT to_regclass('public.first') IS NOT NULL").Scan(&exists); err != nil {
		s.Fatal(err)
	}
	return exists
}

func TestMigratesADatabaseThatRuns(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.wantDone("1 migrations applied, the last one 001_first of control-plane")
	if !s.migrated() {
		t.Error("the migration was not applied")
	}
	s.ran = nil
	s.wantDone("the schema was up to date")
	if len(s.ran) > 0 {
		t.Errorf("these images have migrated before, and yet it ran %v", s.ran)
	}
}

func TestSavesTheDatabaseOnlyBeforeItIsMigrated(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.saves()
	s.wantDone("1 migrations applied")
	if len(s.ran) != 1 || s.ran[0] != "nap-migrate registry.test/hooks:1" {
		t.Errorf("a database with nothing in it to lose: it ran %q", s.ran)
	}
	if err := os.WriteFile(filepath.Join(s.folder.Dir, "002_second.sql"), []byte("CREATE TABLE second (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ran, s.folder.Set, s.spec.Migrate.Sets[0].Set = nil, "set-2", "set-2"
	s.wantDone("nap-backup done", "1 migrations applied")
	if len(s.ran) != 3 || s.ran[0] != "nap-migrate registry.test/hooks:1 --unless-pending" || !strings.HasPrefix(s.ran[1], "nap-backup registry.test/postgresql:17.10 create --name=before-r2-") || s.ran[2] != "nap-migrate registry.test/hooks:1" {
		t.Errorf("it ran %q", s.ran)
	}
	if s.server.Object("/api/v1/namespaces/nap/persistentvolumeclaims/nap-backups") == nil {
		t.Error("there is no claim for the backup")
	}
	s.ran, s.folder.Set, s.spec.Migrate.Sets[0].Set = nil, "set-3", "set-3"
	s.wantDone("the schema was up to date")
	if len(s.ran) != 1 {
		t.Errorf("a new image without migrations: it ran %v", s.ran)
	}
	s.ran, s.spec.Migrate.Sets[0].Set = nil, "set-4"
	s.folder = hook.Migration{Source: "gateway", Dir: s.folder.Dir, Set: "set-4"}
	s.outcome["nap-backup"] = hook.Errorf(hook.Refused, "the claim is too small")
	if _, err := s.prepare(); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "nothing was migrated") || !strings.Contains(err.Error(), "global.backup.skip=true") || !strings.Contains(err.Error(), "the claim is too small") || len(s.ran) != 2 {
		t.Errorf("exit %d: %v after %v", hook.CodeOf(err), err, s.ran)
	}
}

func TestLeavesADatabaseAloneThatDoesNotRun(t *testing.T) {
	for name, objects := range map[string][]string{"none yet": nil, "hibernated": {stopped}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pgtest.Start(t), objects...)
			s.wantDone("no running database")
			if s.migrated() || len(s.ran) > 0 {
				t.Error("a migration was applied")
			}
		})
	}
}

// An upgrade may be what fixes a database that is down, such as by a larger volume. What would migrate it can't go on.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	const serving = `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {template: {spec: {initContainers: [{name: wait, args: [wait, --set=SET]}], containers: [{name: control-plane, image: "registry.test/cp:v1"}]}}}
`
	s := newStage(t, "postgresql://none@127.0.0.1:1/nap", running)
	s.answerTime = time.Second
	s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v1"}}
	s.wantDone("no running database")
	s.server.Put(strings.Replace(serving, "SET", "set-1", 1))
	s.wantDone("no running database")
	s.ran = nil
	s.server.Put(strings.Replace(serving, "SET", "set-0", 1))
	s.wantRefused("PostgreSQL to answer", "connection refused", "leaves the images of the services as they are")
	// One whose primary has never run can hold nothing.
	s.answerTime = 0
	s.server.Put(strings.Replace(running, "nap-pg-1", `""`, 1))
	s.wantDone("no running database")
}

// A database from outside is there before the first install.
func TestExternalDatabase(t *testing.T) {
	url := pgtest.Start(t)
	s := newStage(t, url)
	s.spec.Gate.Manifest, s.spec.Migrate.Cluster, s.spec.Migrate.External = "", "", &hook.ExternalDatabase{Connections: 10}
	s.wantDone("1 migrations applied")
	s.server.Put(secretYAML("nap-database", "url", strings.Replace(url, "/test", "/nothing", 1)))
	s.ran = nil
	s.wantRefused("the external database refuses the connection")
}

// A new release would make keys of its own, with which nobody could read what another's users have stored there.
func TestExternalDatabaseOfAnotherRelease(t *testing.T) {
	url := pgtest.Start(t)
	if err := migrate.RecordKey(t.Context(), url, "the-key-of-the-other-release-it-is"); err != nil {
		t.Fatal(err)
	}
	s := newStage(t, url)
	s.spec.Gate.Manifest, s.spec.Migrate.Cluster, s.spec.Migrate.External = "", "", &hook.ExternalDatabase{Connections: 10}
	s.spec.Gate.EncryptionKey = &hook.SecretRef{Secret: "keys", Key: "ENCRYPTION_KEY"}
	s.spec.Secrets.Secrets = []hook.Secret{{Name: "keys", Data: map[string]hook.SecretKey{"ENCRYPTION_KEY": {Generate: &hook.GenerateSpec{Bytes: 32}}}}}
	s.wantRefused("Secret keys in namespace nap has no ENCRYPTION_KEY", "global.upgrade.allowSecretChanges=true")
	s.server.Put(secretYAML("keys", "ENCRYPTION_KEY", "the-key-of-the-other-release-it-is"))
	s.wantDone("1 kept", "1 migrations applied")
}

// Another release on the same database, with copies of the same Secrets, looks the same but to the database.
func TestDatabaseOfAnotherRelease(t *testing.T) {
	const kubeSystem = "apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system, uid: uid-1}\n"
	url := pgtest.Start(t)
	release := func(namespaced string) *stage {
		s := newStage(t, url, kubeSystem)
		s.spec.Gate.Manifest, s.spec.Migrate.Cluster, s.spec.Migrate.External = "", "", &hook.ExternalDatabase{Connections: 10}
		s.spec.Gate.Release = namespaced
		return s
	}
	// Nothing is claimed by an install that is refused, or that fails before it migrates.
	failing := release("failing")
	failing.spec.Pull.Workloads = nil
	failing.spec.Guard.Claims = []hook.ClaimCheck{{Namespace: "nap", Name: "missing", Required: true, Value: "v"}}
	failing.wantRefused("claim missing")
	first := release("neutree")
	first.wantDone("1 migrations applied")
	first.wantDone("up to date")
	other := release("other")
	other.wantRefused("the database belongs to release neutree in namespace nap",
		"global.upgrade.adoptDatabase=nap/neutree", "database.owner")
	other.spec.Gate.Allow.AdoptDatabase = "nap/neutree"
	other.wantDone("up to date")
	first.ran = nil
	first.wantRefused("the database belongs to release other in namespace nap")
}

// The first upgrade of a release that is there claims its database, also with nothing to migrate.
func TestDatabaseWithoutAnOwnerIsClaimed(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.wantDone("1 migrations applied")
	standing, err := migrate.Compare(t.Context(), s.url, nil)
	if err != nil || !standing.New {
		t.Errorf("a database that was empty does not say so: %+v, %v", standing, err)
	}
	pgtest.Exec(t, s.url, "DROP TABLE neutree.owner")
	s.wantDone("up to date")
	standing, err = migrate.Compare(t.Context(), s.url, nil)
	if standing.New {
		t.Error("a database with data is claimed as an empty one")
	}
	if err != nil || standing.Owner != (migrate.Owner{Release: "neutree", Namespace: "nap"}) {
		t.Errorf("it belongs to %+v, %v", standing.Owner, err)
	}
}

// An installed release that is pointed at an empty database would start without its data.
func TestInstalledReleaseWithAnEmptyExternalDatabase(t *testing.T) {
	s := newStage(t, pgtest.Start(t))
	s.spec.Gate.Manifest, s.spec.Migrate.Cluster, s.spec.Migrate.External = "", "", &hook.ExternalDatabase{Connections: 10}
	s.server.Put(installation)
	s.wantRefused("the external database is empty, and the release has been installed before",
		"global.upgrade.allowRenames=true")
	s.spec.Gate.Allow.Renames = true
	s.wantDone("1 migrations applied")
	s.spec.Gate.Allow.Renames = false
	s.wantDone("up to date")
}

func TestFailureOfTheMigrationIsRelayed(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.outcome["nap-migrate"] = hook.Errorf(hook.MigrationFailed, "migration 133 failed")
	if _, err := s.prepare(); hook.CodeOf(err) != hook.MigrationFailed || err.Error() != "migration 133 failed" {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
}

func TestOnlyAFailedJobIsDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		job     string
		deleted bool
	}{"failed": {failedJob, true}, "at work": {activeJob, false}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", tc.job)
			s.wantDone()
			if gone := s.server.Object(jobPath) == nil; gone != tc.deleted {
				t.Errorf("Job deleted: %v, want %v", gone, tc.deleted)
			}
		})
	}
}
