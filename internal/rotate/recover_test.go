package rotate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// form is how the Job refuses a credential, however often it is run.
var form = hook.Errorf(hook.Refused, "no credential was changed: one of them can't be encrypted again; "+
	"store it again [secrets.credential-form]")

// failing is a Job that does nothing but to fail.
func failing(err error) jobs {
	return func(context.Context, *batchJob) (string, error) { return "", err }
}

// give makes the Secret with the keys the user's, whose old key is kept.
func (p *platform) give() {
	p.Helper()
	given := &p.plan.Secrets.Secrets[0]
	given.Existing, given.Value = true, "global.secrets.existingSecret"
	given.Data = map[string]hook.SecretKey{"CREDENTIAL_ENCRYPTION_KEY": {Required: true, MinLength: 32}}
	p.wantGiven()
}

func (p *platform) wantGiven() {
	p.Helper()
	_, err := p.rotation("credential-key").Run(p.Context())
	wantRefused(p.T, err, "is yours", "[secrets.rotate-given]")
}

func (p *platform) replace(key string) {
	p.Helper()
	p.setKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", key)
}

// killAfter runs a rotation whose client does nothing more after a write has arrived.
func (p *platform) killAfter(method, path string) {
	p.Helper()
	ctx, kill := context.WithCancel(p.Context())
	defer kill()
	down := kubetest.Status(503, metav1.StatusReasonServiceUnavailable, "the client is gone")
	dead := false
	p.server.Judge(func(r kubetest.Request) *metav1.Status {
		if dead {
			kill()
			return &down
		}
		dead = r.Method == method && r.Path == path
		return nil
	})
	_, _ = p.rotation("credential-key").Run(ctx)
	p.server.Judge(nil)
	if !dead {
		p.Fatalf("it has not come to %s %s", method, path)
	}
}

func (p *platform) wantStopped(err error, words string) {
	p.Helper()
	if hook.CodeOf(err) != hook.HalfRestored || !strings.Contains(err.Error(), words) {
		p.Fatalf("it ended with %v", err)
	}
	if p.server.Object(podPath) != nil || p.server.Object(notePath) == nil {
		p.Fatal("the control plane runs, or the note is gone")
	}
}

// With a Secret of the user's the new key is there before anything is encrypted: the control plane must not start with
// it.
func TestAGivenKeyWhoseJobFails(t *testing.T) {
	p := newPlatform(t, 20)
	p.give()
	old, next, work := p.key(), strings.Repeat("n", 32), p.jobs
	p.replace(next)
	const words = "or put the old key back into the Secret and run the same command again"
	for _, cause := range []error{form, hook.Errorf(hook.Unchanged, "no credential was changed: no space")} {
		p.jobs = failing(cause)
		_, err := p.rotation("credential-key").Run(t.Context())
		p.wantStopped(err, words)
	}
	p.replace(old)
	said, err := p.rotation("credential-key").Run(t.Context())
	if err != nil || said != "credential-key has its old value again, which was put back into the Secret: no credential "+
		"was changed; started nap-cp" {
		t.Fatalf("%s, %v", said, err)
	}
	if p.server.Object(notePath) != nil {
		t.Error("the note is still there")
	}
	p.wantReadable()
	p.wantGiven()
	p.replace(next)
	p.jobs = work
	p.mustRotate()
	if p.key() != next {
		t.Error("it has another key than the given one")
	}
}

// Where it is not certain what the Job did, the old key comes back as a new one.
func TestAGivenKeyIsPutBackAfterAJobThatWasKilled(t *testing.T) {
	for _, worked := range []bool{true, false} {
		p := newPlatform(t, 20)
		p.give()
		old, work := p.key(), p.jobs
		p.replace(strings.Repeat("n", 32))
		p.jobs = func(ctx context.Context, job *batchJob) (string, error) {
			if worked {
				_, _ = work(ctx, job)
			}
			return "", hook.Errorf(hook.Unexpected, "it was killed")
		}
		_, err := p.rotation("credential-key").Run(t.Context())
		p.wantStopped(err, "it was killed")
		p.replace(old)
		p.jobs = work
		p.mustRotate()
		if p.key() != old {
			t.Error("it is another key")
		}
	}
}

// A client is killed before the Job has run: the next one still knows the old key.
func TestARotationThatIsTakenUpBeforeItsJobIsGivenUp(t *testing.T) {
	for _, cause := range []error{form, hook.Errorf(hook.Refused, "the Job may not be created")} {
		p := newPlatform(t, 20)
		old := p.key()
		p.killAfter("PUT", keysSecret)
		if p.key() == old {
			t.Fatal("the new key was not written")
		}
		p.jobs = failing(cause)
		_, err := p.rotation("credential-key").Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "nothing was changed, and the same command tries again") {
			t.Fatal(err)
		}
		if p.key() != old || p.server.Object(notePath) != nil {
			t.Error("it is not as before")
		}
		p.wantReadable()
	}
}

// A Job refuses for good, after one that may have done something. Only one that has looked into the database says that
// the old key is in use.
func TestAJobThatRefusesAfterOneThatWasKilled(t *testing.T) {
	p := newPlatform(t, 20)
	old := p.key()
	for _, cause := range []error{hook.Errorf(hook.Unexpected, "it was killed"),
		hook.Errorf(hook.Refused, "the Job may not be created")} {
		p.jobs = failing(cause)
		_, err := p.rotation("credential-key").Run(t.Context())
		p.wantStopped(err, cause.Error())
	}
	p.jobs = failing(form)
	_, err := p.rotation("credential-key").Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || p.key() != old {
		t.Fatal(err)
	}
	p.wantReadable()
}

// A tool starts the control plane with the new key while the Job fails: it must not stay.
func TestAPodWithTheNewKeyDoesNotStayAfterAFailure(t *testing.T) {
	p := newPlatform(t, 20)
	old, work := p.key(), p.jobs
	p.jobs = func(context.Context, *batchJob) (string, error) {
		p.set(deployments+"nap-cp", int64(1), "spec", "replicas")
		for n := p.writing(); p.writing() < n+3; {
			time.Sleep(time.Millisecond)
		}
		return "", hook.Errorf(hook.Unchanged, "no credential was changed: no space")
	}
	if _, err := p.rotation("credential-key").Run(t.Context()); err == nil || p.key() != old {
		t.Fatal(err)
	}
	n := p.writing()
	for p.writing() < n+12 {
		time.Sleep(time.Millisecond)
	}
	p.sql("SELECT pgp_sym_decrypt(decode(encrypted_value, 'base64'), $1) FROM public.user_credentials WHERE name = $2",
		old, fmt.Sprintf("c%d", (n+6)/3))
	p.jobs = work
	p.mustRotate()
}

// A client is killed when nothing but the note is left.
func TestAGivenKeyWhoseNoteIsLeft(t *testing.T) {
	p := newPlatform(t, 20)
	p.give()
	next := strings.Repeat("n", 32)
	p.replace(next)
	p.killAfter("DELETE", keyring)
	if p.server.Object(notePath) == nil || p.server.Object(keyring) != nil {
		t.Fatal("the note is gone, or the keyring is not")
	}
	p.mustRotate()
	if p.key() != next {
		t.Error("it is another key")
	}
	p.wantGiven()
}

// A backup that starts between the first look and the note is found. What starts later does not keep the rotation from
// its end.
func TestABackupThatHasJustStarted(t *testing.T) {
	p := newPlatform(t, 20)
	p.startsMeanwhile(job("scheduled-backup", "-1"), "Job nap-scheduled-backup-1 of release neutree")
	p.server.Delete("/apis/batch/v1/namespaces/nap/jobs/nap-scheduled-backup-1")
	p.killAfter("PUT", keysSecret)
	p.server.Put(job("bootstrap", "-x1"))
	p.mustRotate()
}

// A client is killed at each of its writes, while the key is the user's.
func TestARotationOfAGivenKeyThatWasKilledIsFinished(t *testing.T) {
	next := strings.Repeat("n", 32)
	whole := newPlatform(t, 20)
	whole.give()
	whole.replace(next)
	first := len(whole.server.Changes())
	whole.mustRotate()
	steps := len(whole.server.Changes()) - first
	if steps < 9 {
		t.Fatalf("a rotation has %d writes", steps)
	}
	for step := 0; step <= steps; step++ {
		for _, arrives := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d %t", step, arrives), func(t *testing.T) {
				t.Parallel()
				p := newPlatform(t, 20)
				p.give()
				p.replace(next)
				p.kill(t, step, arrives)
				if p.server.Object(notePath) == nil && p.server.Object(keyring) == nil {
					p.wantGiven()
					return
				}
				p.mustRotate()
				if p.key() != next {
					t.Error("it is another key")
				}
				p.wantGiven()
			})
		}
	}
}

// The user puts the old key back after the client was killed, whenever that was. Nothing is lost, and no note is left.
func TestAGivenKeyIsPutBackAfterAKill(t *testing.T) {
	next := strings.Repeat("n", 32)
	for step := range 23 {
		for _, arrives := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d %t", step, arrives), func(t *testing.T) {
				t.Parallel()
				p := newPlatform(t, 20)
				p.give()
				old := p.key()
				p.replace(next)
				p.kill(t, step, arrives)
				if p.server.Object(keyring) == nil {
					// The rotation has ended, but for its note.
					return
				}
				p.await()
				p.replace(old)
				_, err := p.rotation("credential-key").Run(t.Context())
				if err != nil && !strings.Contains(err.Error(), "[secrets.rotate-given]") {
					t.Fatal(err)
				}
				if p.server.Object(notePath) != nil {
					t.Error("the note is left")
				}
				p.wantReadable()
				p.wantGiven()
				p.replace(next)
				p.mustRotate()
			})
		}
	}
}
