// Package s3test gives tests a real S3 server with an empty bucket: versitygw, a program that the variable VERSITYGW
// names. make test sets it; without it such a test is skipped.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Env names the program.
const Env = "VERSITYGW"

// The credentials that every server takes.
const (
	AccessKey = "AKIDTEST"
	SecretKey = "a-secret-key-of-tests"
)

// Server is a running server.
type Server struct {
	// URL is its address, Bucket a bucket that is empty at first.
	URL, Bucket string
	// Dir is where it keeps what is in its buckets.
	Dir string
}

// Options change a server.
type Options struct {
	// ReadOnly refuses every change. There is no bucket then but those that are folders of Dir.
	ReadOnly bool
	// Dir is the Dir of an earlier server, whose buckets are there again.
	Dir string
	// Locking has the bucket lock objects where their owner asks for it.
	Locking bool
}

// Start starts a server, which ends with the test.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	program := os.Getenv(Env)
	if program == "" {
		t.Skipf("%s names no S3 server: bin/testbed tool versitygw makes one", Env)
	}
	s := &Server{Bucket: "backups", Dir: opts.Dir}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	for _, folder := range []string{"data", "metadata", "versions"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	s.URL = "http://" + address
	args := []string{"--port", address, "--health", "/health", "--quiet"}
	if opts.ReadOnly {
		args = append(args, "--readonly")
	}
	// Not every file system has the attributes in which it would keep metadata.
	args = append(args, "posix", "--sidecar", filepath.Join(s.Dir, "metadata"))
	if opts.Locking {
		args = append(args, "--versioning-dir", filepath.Join(s.Dir, "versions"))
	}
	cmd := exec.Command(program, append(args, filepath.Join(s.Dir, "data"))...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// It goes with the test's process, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	s.wait(t, ended, &said)
	if opts.Dir == "" && !opts.ReadOnly {
		s.createBucket(t, program, opts.Locking)
	}
	return s
}

func (s *Server) createBucket(t testing.TB, program string, locking bool) {
	t.Helper()
	args := []string{"admin", "--endpoint-url", s.URL, "create-bucket", "--owner", AccessKey, "--bucket", s.Bucket}
	if locking {
		args = append(args, "--object-lock-enabled-for-bucket")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "ADMIN_ACCESS_KEY="+AccessKey, "ADMIN_SECRET_KEY="+SecretKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("create a bucket: %v\n%s", err, out)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // It took no connection.
	return l.Addr().String()
}

// wait waits until the server answers.
func (s *Server) wait(t testing.TB, ended chan error, said fmt.Stringer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the S3 server ended: %v\n%s", err, said)
		case <-ctx.Done():
			t.Fatal("the S3 server does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
