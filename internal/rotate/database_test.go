package rotate_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
)

// addressPassword is the password in the address that services read.
func (s *stage) addressPassword() string {
	s.Helper()
	raw, err := base64.StdEncoding.DecodeString(s.values()["nap-database/url"])
	if err != nil {
		s.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "nap:")
	password, _, _ := strings.Cut(rest, "@")
	return password
}

func (s *stage) password() string {
	s.Helper()
	raw, err := base64.StdEncoding.DecodeString(s.values()["nap-pg-user/password"])
	if err != nil {
		s.Fatal(err)
	}
	return string(raw)
}

// A tool writes the Secret of the database's role at any moment of a rotation. All services end with what the Secret has,
// which is what the operator gives the role.
func TestAToolWritesThePasswordMeanwhile(t *testing.T) {
	whole := newStage(t)
	first := len(whole.server.Changes())
	whole.mustRun("database", "database has a new value: restarted nap-cg, nap-cp, nap-scheduler, nap-skills")
	steps := len(whole.server.Changes()) - first
	if steps < 7 {
		t.Fatalf("a rotation has %d writes", steps)
	}
	for step := 1; step <= steps; step++ {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			s := newStage(t)
			before, first := s.versions(), len(s.server.Changes())
			written := make(chan struct{})
			s.server.OnChange(func(number int) {
				if number == first+step {
					// The double is locked until it has answered.
					go func() { defer close(written); s.setKey("nap-pg-user", "password", "of-the-tool") }()
				}
			})
			_, err := s.rotation("database").Run(t.Context())
			<-written
			s.server.OnChange(func(int) {})
			if err != nil && !strings.Contains(err.Error(), "run the same command again") {
				t.Fatal(err)
			}
			if s.addressPassword() != s.password() || err != nil {
				if _, err := s.rotation("database").Run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if s.addressPassword() != s.password() {
				t.Error("services read another password than the Secret has")
			}
			versions := s.versions()
			for _, name := range []string{"nap-cp", "nap-cg", "nap-scheduler", "nap-skills"} {
				if versions[name] == before[name] || versions[name] != versions["nap-cp"] {
					t.Errorf("%s was started with other values than the control plane", name)
				}
			}
			s.wantDone()
		})
	}
}

// The role in a database from outside is the user's.
func TestThePasswordOfAnExternalDatabase(t *testing.T) {
	s := newStage(t)
	given := &s.plan.Secrets.Secrets[len(s.plan.Secrets.Secrets)-1]
	given.Existing, given.Value = true, "global.database.external.existingSecret"
	given.Data = map[string]hook.SecretKey{"username": {Required: true}, "password": {Required: true, MinLength: 1}}
	_, err := s.rotation("database").Run(t.Context())
	wantRefused(t, err, "Secret nap-pg-user in namespace nap is yours (global.database.external.existingSecret)",
		`{"stringData":{"password":"VALUE"}}`, "once the role has that password too (ALTER ROLE … PASSWORD",
		"[secrets.rotate-given]")
	s.setKey("nap-pg-user", "password", "of-the-user")
	s.mustRun("database", "database had a new value already, which the services now use: restarted nap-cg, nap-cp, "+
		"nap-scheduler, nap-skills")
	if s.addressPassword() != "of-the-user" {
		t.Error("services read another password")
	}
	s.wantDone()
}

// A password that could not be set in the database is no other one with the next run.
func TestAPasswordOfTheAdministratorThatWasNotSet(t *testing.T) {
	s := newStage(t)
	old := s.values()["nap-admin/password"]
	s.jobs = func(context.Context, *batchJob) (string, error) {
		return "", hook.Errorf(hook.Refused, "user admin does not exist")
	}
	_, err := s.rotation("admin").Run(t.Context())
	if hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), "the rotation of admin has not ended: user admin does not exist") {
		t.Fatal(err)
	}
	made := s.values()["nap-admin/password"]
	s.jobs = nil
	s.mustRun("admin", "admin had a new value already, which the services now use: the first administrator logs in with the "+
		"password in Secret nap-admin")
	if made == old || s.values()["nap-admin/password"] != made {
		t.Error("the second run has made another password, or the first none")
	}
	s.wantDone()
}
