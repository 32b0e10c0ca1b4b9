package helmenv_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/helmenv"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: one
contexts:
- {name: one, context: {cluster: one, user: u, namespace: of-context}}
- {name: two, context: {cluster: two, user: u}}
clusters:
- {name: one, cluster: {server: "https://one.example"}}
- {name: two, cluster: {server: "https://two.example"}}
users:
- {name: u, user: {token: t}}
`

// alone is an environment without Helm's variables, with a kubeconfig.
func alone(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "HELM_") {
			t.Setenv(name, "")
		}
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
}

func TestConnect(t *testing.T) {
	tests := map[string]struct {
		env                            map[string]string
		args                           []string
		host, namespace, token, actsAs string
		groups                         string
	}{
		"kubeconfig alone":       {host: "https://one.example", namespace: "of-context", token: "t"},
		"Helm's context":         {env: map[string]string{"HELM_KUBECONTEXT": "two", "HELM_NAMESPACE": "nap"}, host: "https://two.example", namespace: "nap", token: "t"},
		"Helm's server and user": {env: map[string]string{"HELM_KUBEAPISERVER": "https://other", "HELM_KUBETOKEN": "x", "HELM_KUBEASUSER": "jane", "HELM_KUBEASGROUPS": "a,b"}, host: "https://other", namespace: "of-context", token: "x", actsAs: "jane", groups: "a,b"},
		"flags":                  {args: []string{"--kube-context=two", "-n", "apps", "--kube-token=y"}, host: "https://two.example", namespace: "apps", token: "y"},
		"flags over Helm's":      {env: map[string]string{"HELM_KUBECONTEXT": "two", "HELM_NAMESPACE": "nap"}, args: []string{"--kube-context=one", "--namespace=apps"}, host: "https://one.example", namespace: "apps", token: "t"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			alone(t)
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			settings := helmenv.New(io.Discard)
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			settings.AddFlags(flags)
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			config, err := settings.Connect()
			if err != nil {
				t.Fatal(err)
			}
			if config.Host != test.host || config.BearerToken != test.token || config.Impersonate.UserName != test.actsAs ||
				strings.Join(config.Impersonate.Groups, ",") != test.groups {
				t.Errorf("connects to %s as %q in %v, want %s as %q in %s",
					config.Host, config.Impersonate.UserName, config.Impersonate.Groups, test.host, test.actsAs, test.groups)
			}
			if got := settings.Namespace(); got != test.namespace {
				t.Errorf("namespace = %q, want %q", got, test.namespace)
			}
		})
	}
}

func TestConnectSaysWhatToDo(t *testing.T) {
	alone(t)
	t.Setenv("HELM_KUBECONTEXT", "three")
	_, err := helmenv.New(io.Discard).Connect()
	if err == nil || !strings.Contains(err.Error(), `"three"`) || !strings.Contains(err.Error(), "--kube-context") {
		t.Errorf("error = %v, want one that names the context and the flag", err)
	}
}

func TestConnectWithoutAnyCluster(t *testing.T) {
	alone(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	_, err := helmenv.New(io.Discard).Connect()
	if err == nil || !strings.Contains(err.Error(), "set KUBECONFIG") {
		t.Errorf("error = %v, want one that says to set KUBECONFIG", err)
	}
}

func TestHelpHoldsNoToken(t *testing.T) {
	alone(t)
	t.Setenv("HELM_KUBETOKEN", "planted-token")
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	helmenv.New(io.Discard).AddFlags(flags)
	if strings.Contains(flags.FlagUsages(), "planted-token") {
		t.Error("the help shows the token")
	}
}

// With --debug or HELM_DEBUG each request is printed, without the credentials that go along; otherwise none is.
func TestDebug(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		args []string
		env  string
		said bool
	}{
		"not asked for": {},
		"flag":          {args: []string{"--debug"}, said: true},
		"Helm's flag":   {env: "true", said: true},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			t.Setenv("HELM_DEBUG", test.env)
			var log strings.Builder
			settings := helmenv.New(&log)
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			settings.AddFlags(flags)
			if err := flags.Parse(append(test.args, "--kube-apiserver", server.URL, "--kube-token", "sesame")); err != nil {
				t.Fatal(err)
			}
			config, err := settings.Connect()
			if err != nil {
				t.Fatal(err)
			}
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Get(server.URL + "/version?timeout=5s")
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			wanted := "debug: GET " + server.URL + "/version?timeout=5s: 418 I'm a teapot after "
			if strings.HasPrefix(log.String(), wanted) != test.said || strings.Contains(log.String(), "sesame") {
				t.Errorf("it printed %q, want %q: %t", log.String(), wanted, test.said)
			}
			if !test.said && log.Len() > 0 {
				t.Errorf("it printed %q unasked", log.String())
			}
		})
	}
}
