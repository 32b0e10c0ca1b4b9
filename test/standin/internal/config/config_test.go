package config

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/contract"
)

func TestMessages(t *testing.T) {
	const name = "X"
	for _, test := range []struct {
		title, value string
		read         func(*Env)
		want         string
	}{
		{"secret", "s3cret", func(e *Env) { e.Secret(name) }, ""},
		{"secret of an example", "nap-jwt-secret-change-me", func(e *Env) { e.Secret(name) }, "X is the public constant of an example"},
		{"secret with a line break", "s3cret\n", func(e *Env) { e.Secret(name) }, "X begins or ends with white space"},
		{"empty", "", func(e *Env) { e.Required(name) }, "X is empty"},
		{"not expanded", "http://$(HOST)", func(e *Env) { e.Optional(name, "") }, "X holds a $(NAME) that Kubernetes did not expand"},
		{"database", "postgresql://u:p@h/d", func(e *Env) { e.Database(name) }, ""},
		{"database without a name", "postgresql://u:p@h/", func(e *Env) { e.Database(name) }, "X names no database"},
		{"database without a user", "postgresql://h/d", func(e *Env) { e.Database(name) }, "X names no user"},
		{"password not encoded", "postgresql://u:p/q@h:5432/d", func(e *Env) { e.Database(name) }, "X " + contract.PostgresURL.Check("postgresql://u:p/q@h:5432/d").Error()},
		{"no scheme", "cp:3000", func(e *Env) { e.Check(name, contract.URL) }, "X " + contract.URL.Check("cp:3000").Error()},
		{"slash at the end", "http://cp:3000/", func(e *Env) { e.OptionalURL(name) }, "X " + contract.URL.Check("http://cp:3000/").Error()},
		{"address with a scheme", "http://afs:9100", func(e *Env) { e.Check(name, contract.HostPort) }, "X " + contract.HostPort.Check("http://afs:9100").Error()},
		{"not a number", "many", func(e *Env) { e.Int(name, 1) }, `X "many" is no positive number`},
		{"not a port", "70000", func(e *Env) { e.Port(name, 1) }, "X 70000 is no port"},
		{"not a file", "/nowhere", func(e *Env) { e.File(name, "") }, "X names /nowhere, which can't be read"},
	} {
		t.Run(test.title, func(t *testing.T) {
			env := New(func(string) (string, bool) { return test.value, true })
			test.read(env)
			err := env.Err()
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(test.title, "password") && strings.Contains(err.Error(), "p/q") {
				t.Errorf("the message %q shows the password", err)
			}
		})
	}
}
