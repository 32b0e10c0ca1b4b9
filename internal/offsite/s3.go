package offsite

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3 wants it: of services, some know no other checksum.
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// S3Options say where a bucket is and how to reach it.
type S3Options struct {
	// Endpoint is the service's address, https://host or https://host:port.
	Endpoint string
	// PlainHTTP admits an address that begins with http://.
	PlainHTTP bool
	// Region is the bucket's. Empty: that of the address, else us-east-1, which services without regions take.
	Region string
	Bucket string
	// Prefix is the folder in the bucket.
	Prefix string
	// PathStyle says whether the bucket's name is in the path of an address or in its host. Nil: as the service wants it.
	PathStyle *bool
	// CA are certificates as PEM, in addition to the public ones.
	CA []byte
	// Credentials are asked for when the store is opened.
	Credentials func() (S3Credentials, error)
	// Log gets what is tried again. It may be nil.
	Log *slog.Logger
}

// S3Credentials are an access key, and a token where they are temporary.
type S3Credentials struct{ AccessKey, SecretKey, SessionToken string }

// S3 is a Store in a bucket.
type S3 struct {
	client minio.Core
	opts   S3Options
	// pause is how long it waits before it tries again the first time.
	pause time.Duration
}

var _ Store = (*S3)(nil)

const (
	// attempts is how often a request is sent until the store counts as unreachable.
	attempts = 5
	// attemptTime bounds one request. A connection that is slower than 100 KiB a second counts as cut.
	attemptTime = 3 * time.Minute
)

// NewS3 opens a bucket. No request is sent yet.
func NewS3(opts S3Options) (*S3, error) {
	var err error
	if opts.Prefix, err = CleanPrefix(opts.Prefix); err != nil {
		return nil, err
	}
	host, secure, err := checkEndpoint(opts.Endpoint, opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if err := s3utils.CheckValidBucketNameStrict(opts.Bucket); err != nil {
		return nil, hook.Errorf(hook.Usage, "the bucket's name %q is none: %w", opts.Bucket, err)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	secret, err := opts.Credentials()
	if err != nil {
		return nil, err
	}
	if secret.AccessKey == "" || secret.SecretKey == "" {
		return nil, hook.Refusef(finding.OffsiteCredentials, "give both parts of the access key",
			"the credentials for %s have no access key or no secret key", opts.Endpoint)
	}
	transport, err := newTransport(opts.CA)
	if err != nil {
		return nil, err
	}
	client, err := minio.NewCore(host, &minio.Options{
		Creds:  credentials.NewStaticV4(secret.AccessKey, secret.SecretKey, secret.SessionToken),
		Secure: secure, Transport: transport, Region: region(opts, host), BucketLookupViaURL: lookup(opts.PathStyle),
		// Requests are repeated here, where that can be logged.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "the S3 endpoint %q: %w", opts.Endpoint, err)
	}
	return &S3{client: *client, opts: opts, pause: time.Second}, nil
}

// checkEndpoint splits the address of a service.
func checkEndpoint(endpoint string, plainHTTP bool) (host string, secure bool, err error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "":
		return "", false, hook.Errorf(hook.Usage, "the S3 endpoint must be an address such as https://s3.example.com")
	case u.User != nil:
		return "", false, hook.Errorf(hook.Usage, "the S3 endpoint must have no credentials in it")
	case u.Scheme == "http" && !plainHTTP:
		return "", false, hook.Errorf(hook.Usage, "the S3 endpoint %s is not encrypted: use https://, or admit plain HTTP", endpoint)
	}
	return u.Host, u.Scheme == "https", nil
}

func region(opts S3Options, host string) string {
	if opts.Region != "" {
		return opts.Region
	}
	if found := s3utils.GetRegionFromURL(url.URL{Host: host}); found != "" {
		return found
	}
	return "us-east-1"
}

// lookup decides where the bucket's name goes.
func lookup(pathStyle *bool) func(url.URL, string) minio.BucketLookupType {
	return func(u url.URL, bucket string) minio.BucketLookupType {
		switch {
		case bucket == "":
			return minio.BucketLookupPath
		case pathStyle != nil && *pathStyle:
			return minio.BucketLookupPath
		case pathStyle != nil || strings.HasSuffix(u.Hostname(), ".myqcloud.com") && !strings.Contains(bucket, "."):
			return minio.BucketLookupDNS
		}
		return minio.BucketLookupAuto
	}
}

func newTransport(ca []byte) (*http.Transport, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if len(ca) > 0 && !roots.AppendCertsFromPEM(ca) {
		return nil, hook.Refusef(finding.OffsiteCertificate, "put the CA certificate there as PEM",
			"the CA certificates for the S3 endpoint hold no certificate")
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   parallel,
		// Objects are compressed and encrypted as they are.
		DisableCompression: true,
	}, nil
}

// String is s3://bucket/prefix.
func (s *S3) String() string { return "s3://" + path.Join(s.opts.Bucket, s.opts.Prefix) }

func (s *S3) key(key string) string {
	if s.opts.Prefix == "" {
		return key
	}
	return s.opts.Prefix + "/" + key
}

// Put sends an object with two checksums, which the service compares.
func (s *S3) Put(ctx context.Context, key string, content []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	sum5, sum := md5.Sum(content), sha256.Sum256(content) //nolint:gosec // As above.
	err := s.retry(ctx, "write "+key, func(ctx context.Context) error {
		_, err := s.client.PutObject(ctx, s.opts.Bucket, s.key(key), bytes.NewReader(content), int64(len(content)),
			base64.StdEncoding.EncodeToString(sum5[:]), hex.EncodeToString(sum[:]),
			// Signed as a whole: not all services know a signature in pieces.
			minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true})
		return err
	})
	if isMissing(err) {
		return hook.Refusef(finding.OffsiteEndpoint, "correct global.backup.s3.endpoint",
			"write %s in %s: %s answers that there is no such address, so it is no S3 service", key, s, s.opts.Endpoint)
	}
	return err
}

// Get reads an object.
func (s *S3) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	var content []byte
	err := s.retry(ctx, "read "+key, func(ctx context.Context) error {
		body, info, _, err := s.client.GetObject(ctx, s.opts.Bucket, s.key(key), minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close() //nolint:errcheck // It was only read.
		if info.Size > limit {
			return &tooLargeError{key, limit}
		}
		buffer := bytes.NewBuffer(make([]byte, 0, max(0, info.Size)+bytes.MinRead))
		n, err := buffer.ReadFrom(io.LimitReader(body, limit+1))
		switch {
		case err != nil:
			return err
		case n > limit:
			return &tooLargeError{key, limit}
		case info.Size >= 0 && n != info.Size:
			return io.ErrUnexpectedEOF
		}
		content = buffer.Bytes()
		return nil
	})
	return content, err
}

// Stat asks for an object's size.
func (s *S3) Stat(ctx context.Context, key string) (Object, error) {
	if err := checkKey(key); err != nil {
		return Object{}, err
	}
	o := Object{Key: key}
	err := s.retry(ctx, "look for "+key, func(ctx context.Context) error {
		info, err := s.client.StatObject(ctx, s.opts.Bucket, s.key(key), minio.StatObjectOptions{})
		o.Size, o.Modified = info.Size, info.LastModified
		return err
	})
	return o, err
}

// List asks for a thousand objects at a time.
func (s *S3) List(ctx context.Context, prefix string, deep bool) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		// What was listed before a request failed is not listed again.
		after, stopped := "", false
		err := s.retry(ctx, "list "+prefix, func(ctx context.Context) error {
			var err error
			after, stopped, err = s.listAfter(ctx, prefix, after, deep, yield)
			return err
		})
		if err != nil && !stopped {
			yield(Object{}, err)
		}
	}
}

// listAfter lists what comes after a key, and returns the last key. A request fails between two pages.
func (s *S3) listAfter(ctx context.Context, prefix, after string, deep bool, yield func(Object, error) bool) (last string, stopped bool, err error) {
	base := s.key("")
	last = after
	opts := minio.ListObjectsOptions{Prefix: base + prefix, Recursive: deep, StartAfter: after, FetchOwner: new(bool)}
	for info := range s.client.ListObjectsIter(ctx, s.opts.Bucket, opts) {
		if info.Err != nil {
			return last, false, info.Err
		}
		// A folder that was listed comes again, for what is in it. Some tools create an object that is named like a folder.
		if info.Key == after || !strings.HasPrefix(info.Key, base+prefix) || info.Key == base+prefix || deep && strings.HasSuffix(info.Key, "/") {
			continue
		}
		last = max(last, info.Key)
		if !yield(Object{Key: strings.TrimPrefix(info.Key, base), Size: info.Size, Modified: info.LastModified}, nil) {
			return last, true, nil
		}
	}
	return last, false, ctx.Err()
}

// Delete removes an object.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := s.retry(ctx, "delete "+key, func(ctx context.Context) error {
		return s.client.RemoveObject(ctx, s.opts.Bucket, s.key(key), minio.RemoveObjectOptions{})
	})
	if isMissing(err) {
		return nil
	}
	return err
}

// retry repeats a request that the service did not answer, and explains what it refused.
func (s *S3) retry(ctx context.Context, what string, do func(context.Context) error) error {
	for attempt, pause := 1, s.pause; ; attempt, pause = attempt+1, 2*pause {
		attemptCtx, cancel := context.WithTimeout(ctx, attemptTime)
		err := do(attemptCtx)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s in %s: %w", what, s, context.Cause(ctx))
		}
		explained := s.explain(what, err)
		if attempt == attempts || !is(explained, finding.OffsiteUnreachable) {
			return explained
		}
		s.opts.Log.Info("the S3 service did not answer, trying again", "cause", cause(err), "attempt", attempt)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// notThere is what readers ask for.
func notThere(key string) error { return fmt.Errorf("%s: %w", key, fs.ErrNotExist) }
