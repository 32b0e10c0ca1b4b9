package rotate_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/rekey"
	"github.com/neutree-ai/packaging/internal/restart"
)

const (
	keysSecret = secrets + "nap-cp-secret"
	keyName    = "nap-cp-secret/CREDENTIAL_ENCRYPTION_KEY"
	keyring    = secrets + "nap-keyring"
	notePath   = "/api/v1/namespaces/nap/configmaps/nap-restore"
	podPath    = "/api/v1/namespaces/nap/pods/nap-cp-1"
)

// platform is a stage with a database and a control plane that stores credentials without a pause, for as long as its
// Deployment asks for a pod. It reads its key when it starts, as the real one does.
type platform struct {
	*stage
	url  string
	conn *pgx.Conn

	mu sync.Mutex
	// stored are the credentials that the control plane has confirmed to its users.
	stored map[string]string
	writes int
	// job ends when the Job that is at work has ended, as the one with a version.
	job     chan struct{}
	version string
	said    string
	err     error
	// before is called when a Job starts.
	before func()
}

func newPlatform(t *testing.T, credentials int) *platform {
	t.Helper()
	p := &platform{stage: newStage(t), url: pgtest.Start(t), stored: map[string]string{}}
	pgtest.Exec(t, p.url, "CREATE EXTENSION pgcrypto")
	var err error
	if p.conn, err = pgx.Connect(t.Context(), p.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close(context.Background()) })
	p.sql(`CREATE TABLE public.user_credentials (user_id text, name text, encrypted_value text NOT NULL, PRIMARY KEY (user_id, name))`)
	p.sql(`INSERT INTO public.user_credentials
  SELECT 'u2', 'b' || n, encode(pgp_sym_encrypt('value ' || n, $2), 'base64') FROM generate_series(1, $1) n`, credentials, p.key())
	for n := range credentials {
		p.stored[fmt.Sprintf("b%d", n+1)] = fmt.Sprintf("value %d", n+1)
	}
	if err := migrate.RecordKey(t.Context(), p.url, p.key()); err != nil {
		t.Fatal(err)
	}
	p.jobs = p.runJob
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); p.kubelet(stop) }()
	t.Cleanup(func() { close(stop); <-ended; p.await() })
	// The control plane has read its key.
	for p.writing() == 0 {
		time.Sleep(time.Millisecond)
	}
	return p
}

// replicas are those of the control plane.
func (p *platform) replicas() string {
	replicas, _, _ := unstructured.NestedFieldNoCopy(p.server.Object(deployments+"nap-cp").Object, "spec", "replicas")
	return fmt.Sprint(replicas)
}

func (p *platform) sql(sql string, args ...any) {
	p.Helper()
	if _, err := p.conn.Exec(p.Context(), sql, args...); err != nil {
		p.Fatalf("%s: %v", sql, err)
	}
}

// key is the key that the Secret has now.
func (p *platform) key() string { return secretOf(p, keysSecret, "CREDENTIAL_ENCRYPTION_KEY") }

func secretOf(p *platform, path, key string) string {
	live := p.server.Object(path)
	if live == nil {
		return ""
	}
	text, _, _ := unstructured.NestedString(live.Object, "data", key)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		p.Error(err)
	}
	return string(raw)
}

// kubelet starts and stops the control plane's pod as its Deployment asks for.
func (p *platform) kubelet(stop chan struct{}) {
	var end func()
	defer func() {
		if end != nil {
			end()
		}
	}()
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		switch wanted := p.replicas() != "0"; {
		case wanted && end == nil:
			p.server.Put("apiVersion: v1\nkind: Pod\nmetadata: {name: nap-cp-1, namespace: nap, labels: {app: nap-cp}}\n" +
				"status: {phase: Running}")
			quit, gone, key := make(chan struct{}), make(chan struct{}), p.key()
			go func() { defer close(gone); p.controlPlane(key, quit) }()
			end = func() { close(quit); <-gone }
		case !wanted && end != nil:
			end()
			end = nil
			p.server.Delete(podPath)
		}
	}
}

// writing is how often the control plane has stored a credential.
func (p *platform) writing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// controlPlane stores credentials until it is to quit. It does not leave a statement half done.
func (p *platform) controlPlane(key string, quit chan struct{}) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		p.Error(err)
		return
	}
	defer conn.Close(ctx)
	for {
		select {
		case <-quit:
			return
		case <-time.After(time.Millisecond):
		}
		p.mu.Lock()
		p.writes++
		n := p.writes
		p.mu.Unlock()
		// Each is stored once and changed twice.
		name, value := fmt.Sprintf("c%d", n/3), fmt.Sprintf("value %d", n)
		_, err := conn.Exec(ctx, `INSERT INTO public.user_credentials VALUES ('u1', $1, encode(pgp_sym_encrypt($2, $3), 'base64'))
 ON CONFLICT (user_id, name) DO UPDATE SET encrypted_value = encode(pgp_sym_encrypt($2, $3), 'base64')`, name, value, key)
		if err != nil {
			p.Errorf("a credential could not be stored: %v", err)
			return
		}
		p.mu.Lock()
		p.stored[name] = value
		p.mu.Unlock()
	}
}

// runJob plays the Job: it ends even where its client does not wait for it, and one that does the same is adopted.
func (p *platform) runJob(ctx context.Context, job *batchv1.Job) (string, error) {
	version := job.Spec.Template.Annotations[restart.Annotation]
	p.mu.Lock()
	if p.job != nil && p.version == version {
		select {
		case <-p.job:
			// A Job that has ended is replaced.
			p.job = nil
		default:
		}
	}
	if p.job == nil || p.version != version {
		p.mu.Unlock()
		p.await()
		p.mu.Lock()
		p.job, p.version = make(chan struct{}), version
		go p.work(job, p.job)
	}
	ended := p.job
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		return "", hook.Errorf(hook.Unexpected, "stopped by a signal")
	case <-ended:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = nil
	return p.said, p.err
}

// await waits for a Job that is at work.
func (p *platform) await() {
	p.mu.Lock()
	job := p.job
	p.mu.Unlock()
	if job != nil {
		<-job
	}
}

func (p *platform) work(job *batchv1.Job, ended chan struct{}) {
	defer close(ended)
	if p.before != nil {
		p.before()
	}
	run := rekey.Rekey{Log: slog.New(slog.DiscardHandler), DatabaseURL: p.url}
	err := errors.New("the Job has no keys")
	for _, volume := range job.Spec.Template.Spec.Volumes {
		if volume.Secret == nil || volume.Secret.SecretName != "nap-keyring" {
			continue
		}
		data, _, _ := unstructured.NestedStringMap(p.server.Object(keyring).Object, "data")
		for name := range data {
			if value := secretOf(p, keyring, name); name == "new" {
				run.New = value
			} else {
				run.Known = append(run.Known, value)
			}
		}
		err = nil
	}
	var result rekey.Result
	if err == nil {
		result, err = run.Run(context.Background())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said, p.err = result.String(), err
}

// wantWhole wants a rotation that has ended, and each credential to be what the control plane has stored.
func (p *platform) wantWhole() {
	p.Helper()
	for path, what := range map[string]string{keyring: "the keyring", notePath: "the note"} {
		if p.server.Object(path) != nil {
			p.Errorf("%s is still there", what)
		}
	}
	if replicas := p.replicas(); replicas != "1" {
		p.Errorf("the control plane has %s replicas", replicas)
	}
	p.wantReadable()
	p.wantDone()
}

// wantReadable wants all credentials to be readable with the key in the Secret. The control plane writes meanwhile: what
// it has just changed is newer than what is compared.
func (p *platform) wantReadable() {
	p.Helper()
	key := p.key()
	if record, err := migrate.Key(p.Context(), p.conn); err != nil || !record.Matches(key) {
		p.Errorf("the record is of another key: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := p.conn.Query(p.Context(),
		"SELECT name, pgp_sym_decrypt(decode(encrypted_value, 'base64'), $1) FROM public.user_credentials WHERE user_id <> 'lost'", key)
	if err != nil {
		p.Fatal(err)
	}
	found := map[string]string{}
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { found[name] = value; return nil }); err != nil {
		p.Fatalf("credentials can't be read: %v", err)
	}
	lost := 0
	for name, value := range p.stored {
		var was, is int
		_, _ = fmt.Sscanf(value, "value %d", &was)
		_, _ = fmt.Sscanf(found[name], "value %d", &is)
		if is < was {
			lost++
		}
	}
	if lost > 0 || len(p.stored) == 0 {
		p.Errorf("%d of %d credentials are lost", lost, len(p.stored))
	}
}

// batchJob keeps lines short.
type batchJob = batchv1.Job

// pgtestKill ends the sessions of the Job.
func pgtestKill(p *platform) {
	conn, err := pgx.Connect(context.Background(), p.url)
	if err != nil {
		p.Error(err)
		return
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'nap-hooks%'`)
	if err != nil {
		p.Error(err)
	}
}
