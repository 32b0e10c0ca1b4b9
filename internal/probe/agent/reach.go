package agent

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
	"strconv"
	"strings"
	"time"

	// The image of nap-hooks holds no certificates, as little as those of the services rely on theirs.
	_ "golang.org/x/crypto/x509roots/fallback"
)

// Reach proves that an address answers.
type Reach struct {
	// URL of one of the schemes tcp, tls, ldap, ldaps, http, https. An answer of any status will do.
	URL string `json:"url"`
	// CA holds certificates (PEM) that are trusted beside the public ones.
	CA string `json:"ca,omitempty"`
	// Proxy uses the HTTP(S)_PROXY and NO_PROXY of the environment, for http and https.
	Proxy bool `json:"proxy,omitempty"`
	// Seconds bound the attempt; 10 if 0.
	Seconds int `json:"seconds,omitempty"`
}

// The fact that says how far an attempt came.
const (
	// Stage is the fact's name.
	Stage = "stage"
	// StageResolve: the name has no address.
	StageResolve = "resolve"
	// StageConnect: nobody accepts a connection.
	StageConnect = "connect"
	// StageTLS: the certificate is not trusted, or it is no TLS.
	StageTLS = "tls"
	// StageAnswer: no answer came.
	StageAnswer = "answer"
)

func (r *Reach) run(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(r.Seconds, 10*time.Second))
	defer cancel()
	err := r.reach(ctx, facts)
	if err != nil && facts[Stage] == "" {
		facts[Stage] = stageOf(err)
	}
	return err
}

func (r *Reach) reach(ctx context.Context, facts Facts) error {
	u, err := url.Parse(r.URL)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%q is no URL with a host", r.URL)
	}
	config, err := TLSConfig(r.CA)
	if err != nil {
		return err
	}
	config.ServerName = u.Hostname()
	switch u.Scheme {
	case "http", "https":
		return r.get(ctx, config, facts)
	case "tcp", "ldap", "tls", "ldaps":
	default:
		return fmt.Errorf("%q has the scheme %q, which is none of tcp, tls, ldap, ldaps, http, https", r.URL, u.Scheme)
	}
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	facts["address"] = connection.RemoteAddr().String()
	if u.Scheme == "tls" || u.Scheme == "ldaps" {
		if err := tls.Client(connection, config).HandshakeContext(ctx); err != nil {
			facts[Stage] = StageTLS
			return err
		}
	}
	return nil
}

func (r *Reach) get(ctx context.Context, config *tls.Config, facts Facts) error {
	config.ServerName = ""
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return err
	}
	if r.Proxy {
		proxy, err := http.ProxyFromEnvironment(request)
		if err != nil {
			return fmt.Errorf("the proxy settings are wrong: %w", err)
		}
		if proxy != nil {
			transport.Proxy = http.ProxyURL(proxy)
			facts["proxy"] = proxy.Host
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return plain(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 1024)
	facts["status"] = strconv.Itoa(response.StatusCode)
	if response.StatusCode == http.StatusProxyAuthRequired || response.StatusCode >= 502 && response.StatusCode <= 504 {
		facts[Stage] = StageAnswer
		return fmt.Errorf("the answer is %s", response.Status)
	}
	return nil
}

// plain is err without the URL around it, which may hold a password.
func plain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// TLSConfig trusts the public authorities and those in ca, which holds PEM.
func TLSConfig(ca string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return config, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("the certificate authorities hold no certificate in PEM")
	}
	config.RootCAs = pool
	return config, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "tls": "443", "ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// stageOf tells by its error how far a connection came.
func stageOf(err error) string {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var dial *net.OpError
	switch {
	case errors.As(err, &dns):
		return StageResolve
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &record), errors.As(err, &certificate),
		strings.Contains(err.Error(), "tls: "), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return StageTLS
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, context.DeadlineExceeded):
		return StageConnect
	}
	return StageAnswer
}
