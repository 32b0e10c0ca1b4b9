// Package helmenv finds the cluster and the namespace that the person gave to Helm.
//
// Helm takes its own flags (--namespace, --kube-context and so on) out of a plugin's command line and hands them on
// in the environment. Called without Helm, the plugin reads the same flags itself.
package helmenv

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"helm.sh/helm/v3/pkg/cli"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Settings are what Helm handed on, and the flags that override it.
type Settings struct {
	helm *cli.EnvSettings
	log  io.Writer
}

// New reads the environment. With --debug, requests to the API server are printed to log.
func New(log io.Writer) *Settings { return &Settings{helm: cli.New(), log: log} }

// AddFlags lets the plugin be called without Helm. They are spelt as Helm's own, which takes them out otherwise.
func (s *Settings) AddFlags(flags *pflag.FlagSet) {
	h := s.helm
	namespace := ""
	if os.Getenv("HELM_NAMESPACE") != "" {
		namespace = h.Namespace()
	}
	flags.VarP(&namespaceFlag{settings: h, value: namespace}, "namespace", "n", "namespace of the release")
	flags.StringVar(&h.KubeConfig, "kubeconfig", h.KubeConfig, "path to the kubeconfig file")
	flags.StringVar(&h.KubeContext, "kube-context", h.KubeContext, "context of the kubeconfig file")
	flags.StringVar(&h.KubeAPIServer, "kube-apiserver", h.KubeAPIServer, "address of the API server")
	flags.StringVar(&h.KubeAsUser, "kube-as-user", h.KubeAsUser, "user to act as")
	flags.StringArrayVar(&h.KubeAsGroups, "kube-as-group", h.KubeAsGroups, "group to act as; can be repeated")
	flags.StringVar(&h.KubeCaFile, "kube-ca-file", h.KubeCaFile, "certificate authority of the API server")
	flags.StringVar(&h.KubeTLSServerName, "kube-tls-server-name", h.KubeTLSServerName, "name in the API server's certificate")
	flags.BoolVar(&h.KubeInsecureSkipTLSVerify, "kube-insecure-skip-tls-verify", h.KubeInsecureSkipTLSVerify, "do not check the API server's certificate")
	// Its default would show a token from the environment in the help.
	flags.Var(&tokenFlag{settings: h}, "kube-token", "token to authenticate with; better in HELM_KUBETOKEN, where other users can't read it")
	flags.BoolVar(&h.Debug, "debug", h.Debug, "print each request to the API server on standard error")
}

// Namespace is the one that was asked for, else the context's, else "default".
func (s *Settings) Namespace() string { return s.helm.Namespace() }

// Environ hands the same cluster and namespace on to Helm, as environment variables. A token is one of them, since other
// users can't read those.
func (s *Settings) Environ() []string {
	var all []string
	for name, value := range s.helm.EnvVars() {
		// Where Helm keeps its own files is its matter, and so is the program that it is.
		if name == "KUBECONFIG" || strings.HasPrefix(name, "HELM_KUBE") || name == "HELM_NAMESPACE" {
			if value != "" {
				all = append(all, name+"="+value)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Connect finds out how to reach the cluster. It asks nothing of it yet.
func (s *Settings) Connect() (*rest.Config, error) {
	config, err := s.helm.RESTClientGetter().ToRESTConfig()
	if err != nil {
		if clientcmd.IsEmptyConfig(err) {
			err = errors.New("no kubeconfig was found")
		}
		return nil, fmt.Errorf("find the cluster: %w; set KUBECONFIG, or use --kube-context to name another context", err)
	}
	// Helm's library guesses an address where nothing names one.
	if raw, err := s.helm.RESTClientGetter().ToRawKubeConfigLoader().RawConfig(); err == nil && len(raw.Clusters) == 0 &&
		s.helm.KubeAPIServer == "" && strings.Contains(config.Host, "localhost:8080") {
		return nil, errors.New("find the cluster: no kubeconfig names one; set KUBECONFIG, or use --kubeconfig")
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "helm-neutree"
	if config.QPS == 0 {
		// The API server bounds what it is asked by itself; a limit here would end in errors of its own near a deadline.
		config.QPS = -1
	}
	if s.helm.Debug {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &traced{next: next, log: s.log} })
	}
	return config, nil
}

// namespaceFlag reaches a field that Helm's library sets by a function only.
type namespaceFlag struct {
	settings *cli.EnvSettings
	value    string
}

func (f *namespaceFlag) String() string { return f.value }
func (f *namespaceFlag) Type() string   { return "string" }
func (f *namespaceFlag) Set(value string) error {
	f.value = value
	f.settings.SetNamespace(value)
	return nil
}

type tokenFlag struct{ settings *cli.EnvSettings }

func (f *tokenFlag) String() string { return "" }
func (f *tokenFlag) Type() string   { return "string" }
func (f *tokenFlag) Set(value string) error {
	f.settings.KubeToken = value
	return nil
}
