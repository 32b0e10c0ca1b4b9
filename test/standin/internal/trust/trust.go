// Package trust plays how the platform's services get to know certificate authorities beside the public ones.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
)

// Variable names the file that the real services' interpreter reads at its start.
const Variable = "NODE_EXTRA_CA_CERTS"

// Pool holds the authorities of the system and those of the file. The real services only warn of a file that they
// can't read, and fail later.
func Pool(env *config.Env) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	file := env.Optional(Variable, "")
	if file == "" {
		return pool
	}
	env.Require(Variable, func() error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !pool.AppendCertsFromPEM(content) {
			return fmt.Errorf("names %s, which holds no certificate", file)
		}
		return nil
	})
	return pool
}

// Client calls services whose certificates these authorities signed.
func Client(pool *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}
