package offsite

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/s3test"
)

// bucket opens the bucket of a server.
func bucket(t *testing.T, server *s3test.Server, change func(*S3Options)) *S3 {
	t.Helper()
	return openTest(t, server.URL, func(o *S3Options) {
		o.Bucket = server.Bucket
		o.Credentials = func() (S3Credentials, error) {
			return S3Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey}, nil
		}
		if change != nil {
			change(o)
		}
	})
}

func TestARealService(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	for _, prefix := range []string{"", "production/cluster-1"} {
		testStore(t, bucket(t, server, func(o *S3Options) { o.Prefix = prefix }))
	}
}

func TestARealServiceListsManyObjects(t *testing.T) {
	store := bucket(t, s3test.Start(t, s3test.Options{}), nil)
	const many = 1100
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for n := range many {
		group.Go(func() error { return store.Put(ctx, partName("a", "database.dump", n), []byte("x")) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if found := keys(t, store); len(found) != many {
		t.Errorf("%d objects are listed", len(found))
	}
	i := newInstallation(t, store)
	if err := i.removeAll(t.Context(), "a/"); err != nil {
		t.Fatal(err)
	}
	if found := keys(t, store); len(found) != 0 {
		t.Errorf("%d objects are left", len(found))
	}
}

func TestWhatARealServiceRefuses(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	put := func(change func(*S3Options)) error {
		return bucket(t, server, change).Put(t.Context(), "x", []byte("content"))
	}
	wantFinding(t, put(func(o *S3Options) { o.Bucket = "another" }), finding.OffsiteBucket, "create the bucket")
	wantFinding(t, put(func(o *S3Options) {
		o.Credentials = func() (S3Credentials, error) { return S3Credentials{AccessKey: "another", SecretKey: "x"}, nil }
	}), finding.OffsiteCredentials, "access key")
	wantFinding(t, put(func(o *S3Options) {
		o.Credentials = func() (S3Credentials, error) { return S3Credentials{AccessKey: s3test.AccessKey, SecretKey: "x"}, nil }
	}), finding.OffsiteCredentials, "secret key")
	wantFinding(t, put(func(o *S3Options) { o.Region = "eu-central-1" }), finding.OffsiteRegion, "region")

	readOnly := s3test.Start(t, s3test.Options{Dir: server.Dir, ReadOnly: true})
	wantFinding(t, bucket(t, readOnly, nil).Put(t.Context(), "x", []byte("content")), finding.OffsiteAccess, "s3:PutObject")
}

func TestTwoBackupsInARealBucketAndTheirRetention(t *testing.T) {
	store := bucket(t, s3test.Start(t, s3test.Options{}), nil)
	i := newInstallation(t, store)
	i.Retention = hook.CopyRetention{Last: 2}
	var list []backup.Metadata
	for n := range 3 {
		m := i.made(t, named(n), day(n))
		if err := i.Copy(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		list = append([]backup.Metadata{m}, list...)
		if err := i.Maintain(t.Context(), list, fine); err != nil {
			t.Fatal(err)
		}
	}
	listing, err := List(t.Context(), store, i.Release)
	if err != nil || len(listing.Copies) != 2 || listing.Copies[0].Backup.Name != named(2) {
		t.Fatalf("listed %+v: %v", listing, err)
	}
	for _, copied := range listing.Copies {
		opened, err := copied.Unlock(t.Context(), []age.Identity{i.person})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range opened.FileNames() {
			if _, err := io.Copy(io.Discard, opened.Open(t.Context(), name)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, key := range keys(t, store) {
		if strings.Contains(key, named(0)) {
			t.Errorf("%s is left", key)
		}
	}
}

// A bucket that locks what is in it keeps copies longer than the retention.
func TestLockedCopiesAreKept(t *testing.T) {
	server := s3test.Start(t, s3test.Options{Locking: true})
	store := bucket(t, server, nil)
	i := newInstallation(t, store)
	i.Retention = hook.CopyRetention{Last: 1}
	ask(t, store, request{method: http.MethodPut, query: url.Values{"object-lock": {""}}, content: []byte(
		`<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled>` +
			`<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>`)})
	list := []backup.Metadata{i.made(t, named(1), day(1)), i.made(t, named(0), day(0))}
	for _, m := range list {
		if err := i.Copy(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Maintain(t.Context(), list, fine); err != nil {
		t.Fatal(err)
	}
	// Each object has a version that can't be deleted, with or without a mark that hides it.
	answer := ask(t, store, request{method: http.MethodGet, query: url.Values{
		"versions": {""}, "prefix": {"production/nap.neutree/" + named(0)},
	}})
	versions := strings.Count(answer, "<Version>")
	if versions < 10 {
		t.Errorf("%d versions are left of the copy that is locked", versions)
	}
	t.Log(i.said)
}

// ask sends a request that only a test has a use for.
func ask(t *testing.T, store *S3, r request) string {
	t.Helper()
	resp, err := store.send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// cutting is a proxy that cuts connections after some bytes.
type cutting struct {
	net.Listener
	// after is how many bytes the next connections may send, cuts how many were cut.
	after, cuts atomic.Int64
}

func newCutting(t *testing.T, to string) *cutting {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := &cutting{Listener: l}
	c.after.Store(1 << 60)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.forward(client, to)
		}
	}()
	return c
}

func (c *cutting) forward(client net.Conn, to string) {
	defer client.Close() //nolint:errcheck // It is cut.
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // It is cut.
	go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
	limit := c.after.Load()
	if n, _ := io.CopyN(server, client, limit); n == limit {
		c.cuts.Add(1)
	}
}

func TestAConnectionThatIsCutInTheMiddleOfAPart(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	proxy := newCutting(t, strings.TrimPrefix(server.URL, "http://"))
	through := *server
	through.URL = "http://" + proxy.Addr().String()
	store := bucket(t, &through, nil)
	i := newInstallation(t, store)
	i.PartBytes = 1 << 20
	m := i.made(t, "20261101-020000", day(0))
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	write(t, filepath.Join(i.Dir, m.Name, backup.DatabaseFile), content)

	proxy.after.Store(600 << 10)
	err := i.Copy(t.Context(), m)
	wantFinding(t, err, finding.OffsiteUnreachable, through.URL)
	if proxy.cuts.Load() < attempts {
		t.Errorf("%d connections were cut", proxy.cuts.Load())
	}
	listing, err := List(t.Context(), bucket(t, server, nil), i.Release)
	if err != nil || len(listing.Copies) != 0 {
		t.Errorf("listed %+v: %v", listing, err)
	}
	// The cuts end during the next run.
	go func() {
		for proxy.cuts.Load() < 2*attempts {
			time.Sleep(time.Millisecond)
		}
		proxy.after.Store(1 << 60)
	}()
	for range 5 {
		if err = i.Copy(t.Context(), m); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := i.copied(t, m.Name).Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestMemory copies a file of many parts of the usual size.
func TestMemory(t *testing.T) {
	i := newInstallation(t, bucket(t, s3test.Start(t, s3test.Options{}), nil))
	i.PartBytes = 0
	m := i.made(t, "20261101-020000", day(0))
	file, err := os.Create(filepath.Join(i.Dir, m.Name, backup.DatabaseFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(file, rand.Reader, 200<<20); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	// As in a hook, whatever the tests' own GOGC is, and without what the tests before have left.
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	debug.FreeOSMemory()
	highest := atomic.Uint64{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			highest.Store(max(highest.Load(), stats.Sys-stats.HeapReleased))
			time.Sleep(10 * time.Millisecond)
		}
	}()
	began := time.Now()
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	cancel()
	<-done
	t.Logf("200 MiB in %s, %.0f MiB/s, with %d MiB of memory", took, 200/took.Seconds(), highest.Load()>>20)
	if highest.Load() > 128<<20 {
		t.Errorf("it took %d MiB of memory", highest.Load()>>20)
	}
}
