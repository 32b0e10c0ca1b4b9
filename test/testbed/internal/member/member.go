// Package member is what the hub's and the nodes' first processes have in common: each starts in namespaces of its
// own, waits there until the outside has connected its network, and then makes itself at home.
package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutree-ai/packaging/test/testbed/internal/pki"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// GoFile is the file descriptor that a member reads one byte from before it does anything. When there is none to
// read, whoever started the member has died, and so does the member.
const GoFile = 3

// AwaitGo waits for that byte.
func AwaitGo() error {
	file := os.NewFile(GoFile, "go")
	if file == nil {
		return errors.New("this command is started by testbed up, not by hand")
	}
	defer file.Close()
	if _, err := io.ReadFull(file, make([]byte, 1)); err != nil {
		return fmt.Errorf("testbed up ended before the network was there: %w", err)
	}
	return nil
}

// MakePrivate cuts the mount namespace off from the one it was copied from, both ways.
func MakePrivate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	return nil
}

// MountProc mounts a /proc that shows this PID namespace.
func MountProc(path string) error {
	if err := unix.Mount("proc", path, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// MountTmpfs mounts an empty file system in memory.
func MountTmpfs(path, options string) error {
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", path, err)
	}
	return nil
}

// SetHostname names the member.
func SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name %s: %w", name, err)
	}
	return nil
}

// OrphanRetries says how often TCP repeats the end of a connection to somebody who no longer answers. As long as it
// tries it keeps the network namespace of a killed member alive.
const OrphanRetries = "net/ipv4/tcp_orphan_retries"

// Sysctl sets kernel parameters of this network namespace, by their path below /proc/sys.
func Sysctl(values map[string]string) error {
	for path, value := range values {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set the kernel parameter %s: %w", path, err)
		}
	}
	return nil
}

// poll is the pause between two looks at something that is about to be there.
const poll = 50 * time.Millisecond

// ListenerReady waits until something accepts connections.
func ListenerReady(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return until(ctx, func() bool {
			connection, err := net.DialTimeout(network, address, time.Second)
			if err != nil {
				return false
			}
			connection.Close()
			return true
		})
	}
}

// APIServerReady waits until the API server says it is ready.
func APIServerReady(c *plan.Cluster) func(context.Context) error {
	return func(ctx context.Context) error {
		client, err := apiClient(c)
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		return until(ctx, func() bool {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server()+"/readyz", nil)
			if err != nil {
				return false
			}
			response, err := client.Do(request)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
	}
}

func apiClient(c *plan.Cluster) (*http.Client, error) {
	ca, err := os.ReadFile(c.PKI(pki.CA + ".crt"))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	}, nil
}

// All waits for one after the other.
func All(waits ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, wait := range waits {
			if err := wait(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

func until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
	return nil
}
