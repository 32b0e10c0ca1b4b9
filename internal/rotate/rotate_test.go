package rotate_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/rotate"
	"github.com/neutree-ai/packaging/internal/secret"
)

func TestARotationWritesItsKeysAndRestartsTheirReaders(t *testing.T) {
	for name, want := range map[string]struct{ keys, restarted []string }{
		"jwt":         {[]string{"nap-cp-secret/JWT_SECRET"}, []string{"nap-cg", "nap-cp"}},
		"service-key": {[]string{"nap-cp-secret/PLATFORM_SERVICE_KEY"}, []string{"nap-cp", "nap-scheduler"}},
		"sandbox": {[]string{"nap-sandbox-secret/JWT_SECRET", "nap-sandbox-secret/SERVICE_KEY"},
			[]string{"nap-browser", "nap-sandbox"}},
		"browser": {[]string{"nap-browser-secret/JWT_SECRET"}, []string{"nap-browser"}},
		"admin":   {[]string{"nap-admin/password"}, nil},
		"database": {[]string{"nap-database/url", "nap-pg-user/password"},
			[]string{"nap-cg", "nap-cp", "nap-scheduler", "nap-skills"}},
		"turn": {[]string{"nap-browser-secret/TURN_AUTH_SECRET", "nap-coturn/turnserver.conf"},
			[]string{"coturn", "nap-browser"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			said := " has a new value: restarted " + strings.Join(want.restarted, ", ")
			if name == "admin" {
				said = " has a new value: the first administrator logs in with the password in Secret nap-admin"
			}
			for range 2 {
				values, versions := s.values(), s.versions()
				s.mustRun(name, name+said)
				if diff := cmp.Diff(want.keys, different(values, s.values())); diff != "" {
					t.Errorf("other keys have changed:\n%s", diff)
				}
				if diff := cmp.Diff(want.restarted, different(versions, s.versions())); diff != "" {
					t.Errorf("other services were restarted:\n%s", diff)
				}
			}
			for key, value := range s.values() {
				raw, _ := base64.StdEncoding.DecodeString(value)
				if len(raw) > 16 && strings.Contains(s.said.String(), string(raw)) {
					t.Errorf("the value of %s is shown:\n%s", key, s.said.String())
				}
			}
		})
	}
	// credentials_test.go has the encryption key.
	if names := rotate.Names(); len(names) != 8 {
		t.Errorf("this test does not know all of %v", names)
	}
}

func TestDryRun(t *testing.T) {
	s := newStage(t)
	before := len(s.server.Changes())
	r := s.rotation("turn")
	r.DryRun = true
	intent, err := r.Intend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := intent.Write(&said); err != nil {
		t.Fatal(err)
	}
	want := `Secret keys: write new random values to nap-browser-secret/TURN_AUTH_SECRET
Deployment coturn: restart, since it reads nap-browser-secret/TURN_AUTH_SECRET
Deployment nap-browser: restart, since it reads nap-browser-secret/TURN_AUTH_SECRET
What users notice: live views of browsers that are open lose their connection, and have to be opened again
`
	if diff := cmp.Diff(want, said.String()); diff != "" {
		t.Error(diff)
	}
	if made := s.server.Changes()[before:]; len(made) > 0 {
		t.Errorf("a dry run writes: %v", made)
	}
}

// A run ends after each of its writes, as if it were killed there. The next one finishes it, and there is one new
// value.
func TestARotationThatWasKilledIsFinished(t *testing.T) {
	const name = "turn"
	whole := newStage(t)
	before := len(whole.server.Changes())
	whole.mustRun(name, "turn has a new value: restarted coturn, nap-browser")
	steps := len(whole.server.Changes()) - before
	if steps < 5 {
		t.Fatalf("a rotation has %d writes: the value, what follows from it, two restarts and the record are 5", steps)
	}
	for step := 1; step <= steps; step++ {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			s := newStage(t)
			old, first := s.values()["nap-browser-secret/TURN_AUTH_SECRET"], len(s.server.Changes())
			ctx, kill := context.WithCancel(t.Context())
			s.server.OnChange(func(number int) {
				if number == first+step {
					kill()
				}
			})
			// The last write may have been answered before.
			if _, err := s.rotation(name).Run(ctx); err == nil && step < steps {
				t.Fatal("it was not killed")
			}
			s.server.OnChange(func(int) {})
			made := s.values()["nap-browser-secret/TURN_AUTH_SECRET"]
			if made == old {
				t.Fatal("no new value was written before")
			}
			if step == steps {
				return
			}
			s.mustRun(name, "turn had a new value already, which the services now use: restarted coturn, nap-browser")
			if s.values()["nap-browser-secret/TURN_AUTH_SECRET"] != made {
				t.Error("the second run has made another value")
			}
			raw, _ := base64.StdEncoding.DecodeString(s.values()["nap-coturn/turnserver.conf"])
			secret, _ := base64.StdEncoding.DecodeString(made)
			if string(raw) != "static-auth-secret="+string(secret) {
				t.Error("the TURN server's configuration has another value")
			}
			if got := different(s.versions(), map[string]string{}); !slices.Equal(got, []string{"coturn", "nap-browser"}) {
				t.Errorf("restarted are %v", got)
			}
			s.wantDone()
		})
	}
}

// wantDone wants the record to be that of the values.
func (s *stage) wantDone() {
	s.Helper()
	changes, err := secret.Compare(s.Context(), slog.New(slog.DiscardHandler),
		s.server.Client().Resource(kube.Secrets, "nap"), s.plan.Secrets, s.plan.Record)
	if err != nil || changes.Any() {
		s.Errorf("not remembered: %v, %v", changes.All(), err)
	}
}

// Both end well, and the services have the value of the one that was faster.
func TestTwoRotationsAtOnce(t *testing.T) {
	s := newStage(t)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			r := s.rotation("jwt")
			r.Log = slog.New(slog.DiscardHandler)
			_, err := r.Run(t.Context())
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	versions := s.versions()
	if versions["nap-cp"] == "" || versions["nap-cp"] != versions["nap-cg"] {
		t.Errorf("the services have started with different values: %v", versions)
	}
	s.wantDone()
}

func (s *stage) giveKeys() {
	given := &s.plan.Secrets.Secrets[0]
	given.Existing, given.Value = true, "global.secrets.existingSecret"
	given.Data = map[string]hook.SecretKey{"JWT_SECRET": {Required: true, MinLength: 32},
		"PLATFORM_SERVICE_KEY": {Required: true, MinLength: 32}}
}

func TestAGivenSecretIsNeverWritten(t *testing.T) {
	s := newStage(t)
	s.giveKeys()
	_, err := s.rotation("jwt").Intend(t.Context())
	wantRefused(t, err, "Secret nap-cp-secret in namespace nap is yours (global.secrets.existingSecret), and this "+
		"command never writes it", "kubectl patch secret nap-cp-secret --namespace nap --type merge "+
		`--patch-file FILE, where FILE holds {"stringData":{"JWT_SECRET":"VALUE"}}`,
		"openssl rand -hex 32", "run the same command again", "[secrets.rotate-given]")
	s.setKey("nap-cp-secret", "JWT_SECRET", strings.Repeat("n", 32))
	values := s.values()
	s.mustRun("jwt", "jwt had a new value already, which the services now use: restarted nap-cg, nap-cp")
	if changed := different(values, s.values()); len(changed) > 0 {
		t.Errorf("it has written %v", changed)
	}
	s.wantDone()
	_, err = s.rotation("jwt").Run(t.Context())
	wantRefused(t, err, "[secrets.rotate-given]")
	s.setKey("nap-cp-secret", "JWT_SECRET", "short")
	_, err = s.rotation("jwt").Run(t.Context())
	wantRefused(t, err, "is too short", "[secrets.given]")
}

// Where nothing is remembered, as after the database's Secret was created by hand, a change could not be seen. So the
// values are noted first, but not by a dry run.
func TestAGivenSecretIsNoted(t *testing.T) {
	s := newStage(t)
	s.giveKeys()
	s.set(secrets+"nap-database", map[string]any{}, "metadata", "annotations")
	dry := s.rotation("jwt")
	dry.DryRun = true
	before := len(s.server.Changes())
	_, err := dry.Intend(t.Context())
	wantRefused(t, err, "[secrets.rotate-given]")
	if made := s.server.Changes()[before:]; len(made) > 0 {
		t.Errorf("a dry run writes: %v", made)
	}
	_, err = s.rotation("jwt").Intend(t.Context())
	wantRefused(t, err, "[secrets.rotate-given]")
	s.setKey("nap-cp-secret", "JWT_SECRET", strings.Repeat("n", 32))
	s.mustRun("jwt", "jwt had a new value already, which the services now use: restarted nap-cg, nap-cp")
}

func wantRefused(t *testing.T, err error, words ...string) {
	t.Helper()
	if hook.CodeOf(err) != hook.Refused {
		t.Fatalf("exit code %d: %v", hook.CodeOf(err), err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("it does not say %q: %v", word, err)
		}
	}
}

func job(component, more string) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata:
  name: nap-%[1]s%[2]s
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, app.kubernetes.io/component: %[1]s}
status: {active: 1}
`, component, more)
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		rotation string
		prepare  func(*stage)
		want     []string
	}{
		"an upgrade that has not ended": {"jwt", func(s *stage) { s.server.Put(record("pending-upgrade")) }, []string{
			"revision 1 of release neutree in namespace nap is pending-upgrade",
			"helm neutree recover neutree --namespace nap", "[secrets.busy]"}},
		"a hook that still runs": {"jwt", func(s *stage) { s.server.Put(job("migrate", "")) }, []string{
			"Job nap-migrate of release neutree in namespace nap is still running", "wait until it has ended",
			"[secrets.busy]"}},
		"a hook that ArgoCD runs": {"jwt", func(s *stage) {
			s.server.Delete(secrets + "sh.helm.release.v1.neutree.v1")
			s.server.Put(job("prepare", ""))
		}, []string{"Job nap-prepare of release neutree", "[secrets.busy]"}},
		"a release that is still set up": {"credential-key", func(s *stage) {
			s.server.Put(job("bootstrap", "-x1"))
		}, []string{
			"Job nap-bootstrap-x1 of release neutree in namespace nap is still running: it uses the database with the value " +
				"that the rotation replaces", "[secrets.busy]"}},
		"a backup of a person": {"credential-key", func(s *stage) { s.server.Put(job("backup", "-abc")) }, []string{
			"Job nap-backup-abc of release neutree", "[secrets.busy]"}},
		"a scheduled backup": {"database", func(s *stage) { s.server.Put(job("scheduled-backup", "-1")) }, []string{
			"Job nap-scheduled-backup-1 of release neutree", "[secrets.busy]"}},
		"a restore that has not ended": {"jwt", func(s *stage) {
			s.server.Put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nap-restore, namespace: nap}\n" +
				`data: {restore.json: '{"backup": "b1", "replicas": {}, "phase": "restored"}'}`)
		}, []string{"the restore of backup b1 has not ended", "[backup.unfinished-restore]"}},
		"a module that is off": {"turn", func(s *stage) { delete(s.plan.Rotations, "turn") }, []string{
			"release neutree has no key for turn, since global.modules.browser.enabled is not true",
			"name one of admin, browser, credential-key, database, jwt, sandbox, service-key", "[secrets.module]"}},
		"an immutable Secret": {"jwt", func(s *stage) { s.set(secrets+"nap-cp-secret", true, "immutable") }, []string{
			"the Secret nap/nap-cp-secret is immutable and can't get another value of the key JWT_SECRET",
			"put a copy of it that is not immutable in its place", "[secrets.immutable]"}},
		"no Secret": {"jwt", func(s *stage) { s.server.Delete(secrets + "nap-cp-secret") }, []string{
			"the Secret nap/nap-cp-secret does not exist", "restore it from a copy", "[secrets.given]"}},
		"nothing to remember by": {"jwt", func(s *stage) { s.server.Delete(secrets + "nap-database") }, []string{
			"the Secret nap/nap-database does not exist", "run helm upgrade with the same values", "[secrets.given]"}},
		"another key that is weak": {"jwt", func(s *stage) { s.setKey("nap-cp-secret", "PLATFORM_SERVICE_KEY", "hunter2") },
			[]string{"the key PLATFORM_SERVICE_KEY of the Secret nap/nap-cp-secret is too short", "[secrets.given]"}},
		"no right": {"jwt", func(s *stage) {
			s.server.Refuse(-1, "PUT", secrets+"nap-cp-secret", kubetest.Status(403, metav1.StatusReasonForbidden,
				`secrets "nap-cp-secret" is forbidden: User "ops" cannot update resource "secrets" in API group "" `+
					`in the namespace "nap"`))
		}, []string{"cannot update the Secret nap/nap-cp-secret", "ops may not update secrets in namespace nap",
			"[rbac.hook]"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			tc.prepare(s)
			versions := s.versions()
			_, err := s.rotation(tc.rotation).Run(t.Context())
			wantRefused(t, err, tc.want...)
			if restarted := different(versions, s.versions()); len(restarted) > 0 {
				t.Errorf("it has restarted %v", restarted)
			}
			if strings.Contains(fmt.Sprint(err, s.said.String()), "hunter2") {
				t.Errorf("a value is shown: %v", err)
			}
		})
	}
	_, err := newStage(t).rotation("credentials").Run(t.Context())
	if hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), "name one of jwt, service-key, credential-key, database, admin, sandbox, browser, turn") {
		t.Error(err)
	}
}

// What is wrong with a value that is replaced is the best reason to replace it. Neither does a backup that a person
// makes forbid it, nor that Helm knows no such release.
func TestWhatIsNoReasonToRefuse(t *testing.T) {
	s := newStage(t)
	s.setKey("nap-cp-secret", "JWT_SECRET", "change-me")
	// As a release of version 0.1.0 remembers nothing.
	s.set(secrets+"nap-database", map[string]any{}, "metadata", "annotations")
	s.server.Put(job("backup", "-20261201-020000"))
	s.server.Delete(secrets + "sh.helm.release.v1.neutree.v1")
	s.mustRun("jwt", "jwt has a new value: restarted nap-cg, nap-cp")
}

// Services that read another value which has changed are restarted as well: a service that is restarted for the one
// reads the other.
func TestAnotherChangeIsFinishedToo(t *testing.T) {
	s := newStage(t)
	s.setKey("nap-cp-secret", "PLATFORM_SERVICE_KEY", strings.Repeat("p", 64))
	s.mustRun("jwt", "jwt has a new value: restarted nap-cg, nap-cp, nap-scheduler")
	s.wantDone()
}

// A key that is missing is not made: the database may hold what was stored with the one that is lost.
func TestARotationMakesNoOtherKey(t *testing.T) {
	s := newStage(t)
	s.dropKey("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY")
	s.mustRun("jwt", "jwt has a new value: restarted nap-cg, nap-cp")
	if value, made := s.values()["nap-cp-secret/CREDENTIAL_ENCRYPTION_KEY"]; made {
		t.Errorf("an encryption key was made, %d characters long", len(value))
	}
}

// Of two keys one was changed by hand: the other one may be what the rotation is for.
func TestARotationReplacesWhatHasNotChanged(t *testing.T) {
	s := newStage(t)
	before := s.values()
	s.setKey("nap-sandbox-secret", "SERVICE_KEY", strings.Repeat("b", 64))
	s.mustRun("sandbox", "sandbox has a new value: restarted nap-browser, nap-sandbox")
	for _, key := range []string{"JWT_SECRET", "SERVICE_KEY"} {
		if s.values()["nap-sandbox-secret/"+key] == before["nap-sandbox-secret/"+key] {
			t.Errorf("%s has its old value", key)
		}
	}
}
