package rotate_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/rotate"
)

// mustRotate rotates the encryption key while the control plane writes, and returns what was said.
func (p *platform) mustRotate() string {
	p.Helper()
	said, err := p.rotation("credential-key").Run(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	p.wantWhole()
	return said
}

func TestCredentialsAreWrittenThroughoutARotation(t *testing.T) {
	p := newPlatform(t, 500)
	for range 2 {
		old, before := p.key(), p.values()
		said := p.mustRotate()
		if p.key() == old {
			t.Error("the key is the old one")
		}
		if changed := different(before, p.values()); len(changed) != 1 || changed[0] != keyName {
			t.Errorf("these keys have changed: %v", changed)
		}
		if !strings.HasPrefix(said, "credential-key has a new value: ") ||
			!strings.Contains(said, " credentials are encrypted with the new key; restarted nap-cp; for ") ||
			!strings.HasSuffix(said, " s the platform did not answer") {
			t.Error(said)
		}
		for _, key := range []string{old, p.key()} {
			if strings.Contains(p.stage.said.String()+said, key) {
				t.Error("a key is shown")
			}
		}
	}
	for _, request := range p.server.Changes() {
		for _, key := range []string{p.key()} {
			if strings.Contains(request.Path, "/jobs") && strings.Contains(fmt.Sprint(request.Body), key) {
				t.Error("a Job has a key in its manifest")
			}
		}
	}
}

func TestIntentOfTheEncryptionKey(t *testing.T) {
	p := newPlatform(t, 1)
	before := len(p.server.Changes())
	r := p.rotation("credential-key")
	r.DryRun = true
	intent, err := r.Intend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := intent.Write(&said); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Secret keys: write new random values to " + keyName + "\n",
		"Database: each credential that a user has stored is encrypted again, in one transaction\n",
		"Deployment nap-cp: stopped meanwhile, since it reads " + keyName + "\n",
		"What users notice: the platform does not answer while credentials are encrypted again",
		"helm neutree secrets export, and make a new backup afterwards"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
	if made := p.server.Changes()[before:]; len(made) > 0 {
		t.Errorf("a dry run writes: %v", made)
	}
}

// A client is killed at each of its writes: after it, or before. The next one finishes the rotation with the same key.
func TestARotationOfTheEncryptionKeyThatWasKilledIsFinished(t *testing.T) {
	whole := newPlatform(t, 20)
	first := len(whole.server.Changes())
	whole.mustRotate()
	steps := len(whole.server.Changes()) - first
	if steps < 11 {
		t.Fatalf("a rotation has %d writes", steps)
	}
	for step := 0; step <= steps; step++ {
		for _, arrives := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d %t", step, arrives), func(t *testing.T) {
				t.Parallel()
				p := newPlatform(t, 20)
				old := p.key()
				p.kill(t, step, arrives)
				made := secretOf(p, keyring, "new")
				if key := p.key(); key != old && made == "" {
					// Nothing but the note is left, or nothing at all.
					made = key
				}
				if p.server.Object(notePath) == nil && p.key() != old {
					p.wantWhole()
					return
				}
				p.mustRotate()
				if p.key() == old || made != "" && p.key() != made {
					t.Error("the second run has another key than the first")
				}
			})
		}
	}
}

// kill runs a rotation whose client does nothing more after a number of writes. The last of them arrives or does not.
func (p *platform) kill(t *testing.T, step int, arrives bool) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var writes atomic.Int64
	down := kubetest.Status(503, metav1.StatusReasonServiceUnavailable, "the client is gone")
	p.server.Judge(func(kubetest.Request) *metav1.Status {
		switch n := int(writes.Add(1)); {
		case n < step, n == step && arrives:
			if n == step {
				kill()
			}
			return nil
		}
		kill()
		return &down
	})
	_, _ = p.rotation("credential-key").Run(ctx)
	p.server.Judge(nil)
}

// The Job is killed at a moment that differs from run to run, together with its client or without it.
func TestTheJobIsKilled(t *testing.T) {
	for _, moment := range []time.Duration{0, 5, 20, 50, 80, 120, 160, 200, 300, 400} {
		t.Run(fmt.Sprint(int(moment)), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t, 300)
			old := p.key()
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			var killing sync.WaitGroup
			p.before = func() {
				killing.Go(func() {
					time.Sleep(moment * time.Millisecond)
					if moment%3 == 0 {
						kill()
					}
					pgtestKill(p)
				})
			}
			_, err := p.rotation("credential-key").Run(ctx)
			killing.Wait()
			p.before = nil
			if err == nil {
				p.wantWhole()
				return
			}
			switch said := err.Error(); {
			case p.server.Object(notePath) == nil:
				// It was certain that nothing has changed.
				if p.key() != old {
					t.Errorf("the Secret has the new key after %v", err)
				}
				p.wantReadable()
			case p.replicas() == "0":
				if hook.CodeOf(err) != hook.HalfRestored || !strings.Contains(said, "[secrets.unfinished-rotation]") {
					t.Errorf("services are stopped, and it says %v", err)
				}
			case !strings.Contains(said, "run the same command again"):
				t.Errorf("it has not ended, and says %v", err)
			}
			made := secretOf(p, keyring, "new")
			p.await()
			p.mustRotate()
			if p.key() != made {
				t.Error("the second run has another key than the first")
			}
		})
	}
}

// A tool that heals what differs from its render starts the control plane again in the middle of it.
func TestAToolStartsTheControlPlaneMeanwhile(t *testing.T) {
	p := newPlatform(t, 200)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(40 * time.Millisecond):
				p.set(deployments+"nap-cp", int64(1), "spec", "replicas")
			}
		}
	}()
	done := false
	for range 20 {
		if _, err := p.rotation("credential-key").Run(t.Context()); err == nil {
			done = true
			break
		}
		// The tool is suspended for a moment, as the message asks for.
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	<-ended
	if !done {
		p.mustRotate()
	}
	p.wantWhole()
}

// What keeps the Job from its work leaves everything as it was: the services run with the old key.
func TestAJobThatDoesNotStart(t *testing.T) {
	p := newPlatform(t, 20)
	old, work := p.key(), p.jobs
	failure := error(&hook.Error{Code: hook.Refused, Err: &jobrun.NotStarted{Job: "nap-rotate", Trouble: poddiag.Trouble{
		Kind: poddiag.Image, Container: "rotate", Reason: "ErrImagePull", Message: "not found"}}})
	var made string
	for _, err := range []error{failure, hook.Errorf(hook.Unchanged, "no credential was changed: no space")} {
		p.jobs = func(context.Context, *batchJob) (string, error) {
			if p.key() == old || p.server.Object(podPath) != nil {
				t.Error("the Job starts before the Secret has the new key and the control plane is gone")
			}
			return "", err
		}
		_, got := p.rotation("credential-key").Run(t.Context())
		if got == nil || !strings.Contains(got.Error(), "nothing was changed, and the same command tries again: "+err.Error()) {
			t.Fatal(got)
		}
		if p.key() != old || p.server.Object(notePath) != nil {
			t.Error("it is not as before")
		}
		if made != "" && made != secretOf(p, keyring, "new") {
			t.Error("the second run has made another key")
		}
		made = secretOf(p, keyring, "new")
	}
	p.jobs = func(context.Context, *batchJob) (string, error) {
		return "", hook.Errorf(hook.Unexpected, "it was killed")
	}
	_, err := p.rotation("credential-key").Run(t.Context())
	if hook.CodeOf(err) != hook.HalfRestored || !strings.Contains(err.Error(), "stay stopped until it has: it was killed") {
		t.Fatal(err)
	}
	// Nothing else may start services or change the database until it has ended.
	findings, err := restorenote.Unfinished(t.Context(), p.server.Client(), "nap", "nap-restore")
	if err != nil || len(findings) != 1 || findings[0].ID != "secrets.unfinished-rotation" {
		t.Errorf("%v %v", findings, err)
	}
	_, err = p.rotation("jwt").Run(t.Context())
	wantRefused(t, err, "the rotation of credential-key", "has not ended",
		"finish it with helm neutree secrets rotate credential-key --namespace nap", "[secrets.unfinished-rotation]")
	p.jobs = work
	p.mustRotate()
	if p.key() != made {
		t.Error("the last run has made another key")
	}
}

func TestASecondRotationOfTheEncryptionKeyIsRefused(t *testing.T) {
	p := newPlatform(t, 20)
	var second error
	p.before = func() { _, second = p.rotation("credential-key").Run(t.Context()) }
	first := p.rotation("credential-key")
	first.Patience = 2 * time.Second
	if _, err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const words = "is at work on the rotation of credential-key in namespace nap"
	if hook.CodeOf(second) != hook.Busy || !strings.Contains(second.Error(), words) ||
		!strings.Contains(second.Error(), "[secrets.busy]") {
		t.Error(second)
	}
	p.before = nil
	p.wantWhole()
}

// A tool sets the old key back while the services are stopped: they are not started with it.
func TestTheOldKeyIsSetBack(t *testing.T) {
	p := newPlatform(t, 20)
	old := p.key()
	p.before = func() { p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", old) }
	_, err := p.rotation("credential-key").Run(t.Context())
	if hook.CodeOf(err) != hook.HalfRestored || !strings.Contains(err.Error(), "was changed by another client") {
		t.Fatal(err)
	}
	if p.server.Object(podPath) != nil {
		t.Error("the control plane runs with the old key")
	}
	p.before = nil
	p.mustRotate()
	if p.key() == old {
		t.Error("the key is the old one")
	}
}

func TestAnUnreadableCredentialIsNamed(t *testing.T) {
	p := newPlatform(t, 20)
	p.sql(`INSERT INTO public.user_credentials VALUES ('lost', 'GITHUB_TOKEN',
  encode(pgp_sym_encrypt('hunter2', 'lost key'), 'base64'))`)
	said := p.mustRotate()
	if !strings.Contains(said, "and 1 could not be read with the old key and are left as they are: "+
		"user_id lost, name GITHUB_TOKEN") {
		t.Error(said)
	}
}

func TestAGivenEncryptionKey(t *testing.T) {
	p := newPlatform(t, 20)
	given := &p.plan.Secrets.Secrets[0]
	given.Existing, given.Value = true, "global.secrets.existingSecret"
	given.Data = map[string]hook.SecretKey{"CREDENTIAL_ENCRYPTION_KEY": {Required: true, MinLength: 32}}
	dry := p.rotation("credential-key")
	dry.DryRun = true
	before := len(p.server.Changes())
	for _, r := range []*rotate.Rotation{dry, p.rotation("credential-key"), p.rotation("credential-key")} {
		_, err := r.Intend(t.Context())
		wantRefused(t, err, "is yours (global.secrets.existingSecret)", `{"CREDENTIAL_ENCRYPTION_KEY":"VALUE"}`,
			"which encrypts what users have stored with the new value", "[secrets.rotate-given]")
		if r == dry && len(p.server.Changes()) > before {
			t.Error("a dry run writes")
		}
	}
	old := p.key()
	p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", "short")
	_, err := p.rotation("credential-key").Run(t.Context())
	wantRefused(t, err, "is too short", "[secrets.given]")
	// The tool that writes the Secret changes its mind while the Job is at work.
	next := strings.Repeat("n", 32)
	p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", next)
	p.before = func() { p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", strings.Repeat("m", 32)) }
	if _, err := p.rotation("credential-key").Run(t.Context()); hook.CodeOf(err) != hook.HalfRestored {
		t.Fatal(err)
	}
	p.before = nil
	values := p.values()
	p.mustRotate()
	if changed := different(values, p.values()); len(changed) > 0 {
		t.Errorf("it has written %v", changed)
	}
	if p.key() == old || p.key() == next {
		t.Error("the credentials have an earlier key")
	}
}

// Without the old key nothing is done: it may come back.
func TestAnOldKeyThatIsNotKnown(t *testing.T) {
	p := newPlatform(t, 20)
	old := p.key()
	p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", strings.Repeat("n", 32))
	before := len(p.server.Changes())
	_, err := p.rotation("credential-key").Run(t.Context())
	wantRefused(t, err, "is not the one that the services have started with, which is not known any more",
		"put the old key back", "[secrets.old-key]")
	if made := p.server.Changes()[before:]; len(made) > 0 {
		t.Errorf("refused, and changed: %v", made)
	}
	p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", old)
	p.mustRotate()
}

// startsMeanwhile has an object appear between the first look of a rotation and its note, and wants it to be refused with
// words, and nothing to be changed.
func (p *platform) startsMeanwhile(object string, words ...string) {
	p.Helper()
	old := p.key()
	p.server.Judge(func(r kubetest.Request) *metav1.Status {
		if r.Method == http.MethodPost && strings.HasSuffix(r.Path, "/configmaps") {
			p.server.PutMeanwhile(object)
		}
		return nil
	})
	_, err := p.rotation("credential-key").Run(p.Context())
	p.server.Judge(nil)
	wantRefused(p.T, err, append(words, "[secrets.busy]")...)
	if p.server.Object(notePath) != nil || p.key() != old {
		p.Error("something has changed")
	}
}

func TestAnUpgradeThatHasJustStarted(t *testing.T) {
	newPlatform(t, 20).startsMeanwhile(record("pending-upgrade"), "is pending-upgrade")
}

// The Job mounts the keyring, and its command line names no key.
func TestTheJobOfTheEncryptionKey(t *testing.T) {
	p := newPlatform(t, 1)
	var spec corev1.PodSpec
	work := p.jobs
	p.jobs = func(ctx context.Context, job *batchJob) (string, error) {
		spec = job.Spec.Template.Spec
		return work(ctx, job)
	}
	p.mustRotate()
	args := strings.Join(spec.Containers[0].Args, " ")
	if !strings.HasPrefix(args, "rotate credential-key --keys=/keys --keyring=") || strings.Contains(args, p.key()) {
		t.Error(args)
	}
	mount := spec.Containers[0].VolumeMounts[0]
	if mount.MountPath != "/keys" || !mount.ReadOnly || spec.Volumes[0].Secret.SecretName != "nap-keyring" {
		t.Errorf("%+v %+v", mount, spec.Volumes)
	}
	p.jobs = func(_ context.Context, job *batchJob) (string, error) {
		spec = job.Spec.Template.Spec
		return "done", nil
	}
	for range 8 {
		p.mustRun("admin", "admin has a new value: the first administrator logs in with the password in Secret nap-admin")
		if env := spec.Containers[0].Env; env[0].Name != "ADMIN_USERNAME" || env[1].Name != "ADMIN_PASSWORD" {
			t.Fatalf("the order of the environment differs from run to run: %v", env)
		}
	}
	if got := strings.Join(spec.Containers[0].Args, " "); got != "rotate admin" || len(spec.Containers[0].Env) != 2 {
		t.Errorf("%s %v", got, spec.Containers[0].Env)
	}
}

// The keyring is no tool's to prune, and has the labels of the release.
func TestTheKeyring(t *testing.T) {
	p := newPlatform(t, 1)
	var ring *unstructured.Unstructured
	p.before = func() { ring = p.server.Object(keyring) }
	p.mustRotate()
	if ring.GetLabels()["app.kubernetes.io/instance"] != "neutree" || len(ring.GetAnnotations()) == 0 {
		t.Errorf("labels %v, annotations %v", ring.GetLabels(), ring.GetAnnotations())
	}
	if data, _, _ := unstructured.NestedStringMap(ring.Object, "data"); len(data) != 2 {
		t.Errorf("%d keys", len(data))
	}
}
