package images

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/version"
)

// Access says how registries are reached. Proxies come from the environment.
type Access struct {
	// AuthFile has credentials in the format of docker's config.json. Empty: those that docker login has stored.
	AuthFile string
	// CAFile has CA certificates to trust besides the system's.
	CAFile string
	// PlainHTTP are the hosts, with their ports, that are asked by HTTP. Any other is asked by HTTPS alone.
	PlainHTTP []string
	// Patience is how long a registry may take until it answers a request; 0 means 30 seconds.
	Patience time.Duration
	// Pause is the time before the first of two retries; 0 means one second.
	Pause time.Duration
}

// Registries are reached as an Access says.
type Registries struct {
	plainHTTP []string
	keychain  authn.Keychain
	transport *oneScheme
	pause     time.Duration
}

// Open reads the files that an Access names.
func (a Access) Open() (*Registries, error) {
	patience, pause := a.Patience, a.Pause
	if patience == 0 {
		patience = 30 * time.Second
	}
	if pause == 0 {
		pause = time.Second
	}
	base := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: patience, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   50,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   patience,
		ResponseHeaderTimeout: patience,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if a.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		raw, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA certificates of --ca-file: %w", err)
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("--ca-file %s has no certificate in PEM format", a.CAFile)
		}
		base.TLSClientConfig.RootCAs = pool
	}
	r := &Registries{plainHTTP: a.PlainHTTP, keychain: authn.DefaultKeychain, pause: pause}
	r.transport = &oneScheme{next: base, plainHTTP: a.PlainHTTP}
	if a.AuthFile != "" {
		raw, err := os.Open(a.AuthFile)
		if err != nil {
			return nil, fmt.Errorf("read the credentials of %s: %w", a.AuthFile, err)
		}
		defer raw.Close()
		// The reader's own words could repeat a part of the file.
		file, err := config.LoadFromReader(raw)
		if err != nil {
			return nil, fmt.Errorf("%s is no config.json of docker: docker login writes one",
				a.AuthFile)
		}
		r.keychain = fileKeychain{file}
	}
	return r, nil
}

// errScheme is the error of a request that is never sent.
var errScheme = errors.New("a registry is asked by HTTPS, unless --plain-http names it")

// oneScheme keeps the library from trying both schemes: anyone could read credentials that are sent to a private
// address by HTTP.
type oneScheme struct {
	next      http.RoundTripper
	plainHTTP []string
	// failed is the newest error of each host. The library mixes it with that of the scheme that is not tried.
	failed sync.Map
	// sent is how many bytes of blobs were sent.
	sent atomic.Int64
}

// RoundTrip sends a request, unless its scheme is not the one of its host.
func (o *oneScheme) RoundTrip(request *http.Request) (*http.Response, error) {
	if (request.URL.Scheme == "http") != slices.Contains(o.plainHTTP, request.URL.Host) {
		return nil, errScheme
	}
	if request.Body != nil && request.Body != http.NoBody && strings.Contains(request.URL.Path, "/blobs/uploads/") {
		request = request.Clone(request.Context())
		request.Body = &counted{ReadCloser: request.Body, to: &o.sent}
	}
	answer, err := o.next.RoundTrip(request)
	if err != nil {
		o.failed.Store(request.URL.Host, err)
	}
	return answer, err
}

// counted is the body of a request whose bytes are counted.
type counted struct {
	io.ReadCloser
	to *atomic.Int64
}

// Read reads the body.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.to.Add(int64(n))
	return n, err
}

// Sent is how many bytes of blobs were sent to these registries.
func (r *Registries) Sent() int64 { return r.transport.sent.Load() }

// fileKeychain finds credentials in one file.
type fileKeychain struct{ file *configfile.ConfigFile }

// Resolve finds the credentials for a registry; without any it is asked anonymously.
func (k fileKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	key := target.RegistryStr()
	if key == name.DefaultRegistry {
		key = authn.DefaultAuthKey
	}
	found, err := k.file.GetAuthConfig(key)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", target.RegistryStr(), err)
	}
	credentials := authn.AuthConfig{Username: found.Username, Password: found.Password, Auth: found.Auth,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken}
	if credentials == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(credentials), nil
}

// reference reads a reference.
func (r *Registries) reference(ref string) (name.Reference, error) {
	host, _, _ := strings.Cut(ref, "/")
	var options []name.Option
	if slices.Contains(r.plainHTTP, host) {
		options = append(options, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, options...)
	if err != nil {
		return nil, fmt.Errorf("image %q is no reference that a registry knows: %w", ref, err)
	}
	return parsed, nil
}

func (r *Registries) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.transport), remote.WithAuthFromKeychain(r.keychain),
		remote.WithUserAgent("helm-neutree/" + version.Get().Version),
		remote.WithRetryBackoff(remote.Backoff{Duration: r.pause, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
}

// failure explains what a registry answered about an image.
func (r *Registries) failure(image string, err error) finding.Finding {
	host, _, _ := strings.Cut(image, "/")
	if failed, known := r.transport.failed.Load(host); known && errors.Is(err, errScheme) {
		err = failed.(error)
	}
	f := finding.Finding{ID: finding.ImagesRegistry, Severity: finding.Error, Object: "image " + image,
		Found: fmt.Sprintf("%s: registry %s could not be asked: %s", image, host, brief(err)),
		Fix:   "check its name, the network and the proxy (HTTPS_PROXY, NO_PROXY), and run this again"}
	var answer *transport.Error
	var authority x509.UnknownAuthorityError
	var limit net.Error
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &answer) &&
		(answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		f.ID = finding.ImagesLogin
		f.Found = fmt.Sprintf("%s: registry %s refuses access (HTTP %d)", image, host, answer.StatusCode)
		f.Fix = "log in with an account that has access to it, by docker login " + host + ", or name a file with credentials"
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		f.ID, f.Found = finding.ImagesMissing, fmt.Sprintf("%s: registry %s does not have it", image, host)
		f.Fix = "fix the image name or tag"
	case errors.As(err, &answer):
		f.Found = fmt.Sprintf("%s: registry %s answers HTTP %d", image, host, answer.StatusCode)
		f.Fix = "look at the registry's logs, and run this again"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		f.Found = fmt.Sprintf("%s: registry %s answers by HTTP and not by HTTPS", image, host)
		f.Fix = "if that is meant, allow it with --plain-http " + host
	case errors.As(err, &authority):
		f.Found = fmt.Sprintf("%s: the certificate of registry %s is signed by a CA that is not trusted", image, host)
		f.Fix = "name the CA certificate with --ca-file"
	case errors.As(err, &limit) && limit.Timeout():
		f.Found = fmt.Sprintf("%s: registry %s does not answer in time", image, host)
	}
	return f
}

// brief is an error without the address that was asked, which can hold a token.
func brief(err error) string {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	return err.Error()
}
