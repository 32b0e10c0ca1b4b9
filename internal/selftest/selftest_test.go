package selftest_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/selftest"
)

const (
	set      = "5e7"
	password = "correct-horse"
)

// release is a control plane with one account, a relay, and a database with a recorded set.
func release(t *testing.T) (hook.TestSpec, selftest.Credentials) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/auth/login", func(w http.ResponseWriter, r *http.Request) {
		var given map[string]string
		if err := json.NewDecoder(r.Body).Decode(&given); err != nil || given["username"] != "admin" || given["password"] != password {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	dsn := pgtest.Start(t)
	pgtest.Exec(t, dsn, `CREATE SCHEMA neutree; CREATE TABLE neutree.migration_sets (set_hash text); INSERT INTO neutree.migration_sets VALUES ('`+set+`');
		GRANT USAGE ON SCHEMA neutree TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA neutree TO PUBLIC`)
	spec := hook.TestSpec{Set: set, LogIn: server.URL + "/api/auth/login", Services: []hook.TestedService{
		{Name: "control plane", URL: server.URL + "/healthz"},
		{Name: "relay", Address: server.Listener.Addr().String()},
	}}
	return spec, selftest.Credentials{Username: "admin", Password: password, DatabaseURL: dsn}
}

func run(t *testing.T, spec hook.TestSpec, with selftest.Credentials) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var output strings.Builder
	err := selftest.Run(ctx, &output, spec, with)
	if strings.Contains(output.String(), with.Password) {
		t.Errorf("the password stands in\n%s", &output)
	}
	return output.String(), err
}

func TestReleaseThatWorks(t *testing.T) {
	spec, with := release(t)
	output, err := run(t, spec, with)
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	for _, want := range []string{"pass  the administrator logs in", "pass  the schema is this release's", "pass  control plane answers", "pass  relay answers"} {
		if !strings.Contains(output, want) {
			t.Errorf("no line %q in\n%s", want, output)
		}
	}
}

func TestWhatDoesNotWorkIsNamed(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	tests := map[string]struct {
		change func(*hook.TestSpec, *selftest.Credentials)
		want   []string
	}{
		"another password": {func(_ *hook.TestSpec, c *selftest.Credentials) { c.Password = "battery-staple" },
			[]string{"FAIL  the administrator logs in", "Secret"}},
		"a set that is not recorded": {func(s *hook.TestSpec, _ *selftest.Credentials) { s.Set = "other" },
			[]string{"FAIL  the schema", "not recorded"}},
		"a service that is ill": {func(s *hook.TestSpec, _ *selftest.Credentials) { s.Services[0].URL += "/nowhere" },
			[]string{"FAIL  control plane answers", "404"}},
		"a service that is away": {func(s *hook.TestSpec, _ *selftest.Credentials) { s.Services[1].Address = nobody },
			[]string{"FAIL  relay answers", "refused"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spec, with := release(t)
			test.change(&spec, &with)
			output, err := run(t, spec, with)
			if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "1 of 4 checks failed") {
				t.Errorf("error = %v, want a refusal of 1 of 4 checks", err)
			}
			for _, want := range test.want {
				if !strings.Contains(output, want) {
					t.Errorf("no %q in\n%s", want, output)
				}
			}
			if strings.Count(output, "pass  ") != 3 {
				t.Errorf("the others are not told of:\n%s", output)
			}
		})
	}
}
