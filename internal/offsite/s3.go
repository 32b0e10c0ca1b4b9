package offsite

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

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
	// PathStyle says whether the bucket's name is in the path of an address or in its host. Nil: as the service wants
	// it.
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
	client   *http.Client
	opts     S3Options
	secret   S3Credentials
	endpoint *url.URL
	region   string
	// inHost says that the bucket's name is in the host of an address.
	inHost bool
	// pause is how long it waits before it tries again the first time.
	pause time.Duration
}

var _ Store = (*S3)(nil)

// attempts is how often a request is sent until the store counts as unreachable.
const attempts = 5

// NewS3 opens a bucket. No request is sent yet.
func NewS3(opts S3Options) (*S3, error) {
	var err error
	if opts.Prefix, err = CleanPrefix(opts.Prefix); err != nil {
		return nil, err
	}
	endpoint, err := checkEndpoint(opts.Endpoint, opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if !bucketPattern.MatchString(opts.Bucket) {
		return nil, hook.Errorf(hook.Usage, "%q is no name of a bucket: 3 to 63 lower-case letters, digits, dashes and dots",
			opts.Bucket)
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
	return &S3{
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			// A signature is for one address.
			return http.ErrUseLastResponse
		}},
		opts: opts, secret: secret, endpoint: endpoint, region: region(opts, endpoint), inHost: inHost(opts, endpoint),
		pause: time.Second,
	}, nil
}

// checkEndpoint reads the address of a service.
func checkEndpoint(endpoint string, plainHTTP bool) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "":
		return nil, hook.Errorf(hook.Usage, "the S3 endpoint must be an address such as https://s3.example.com")
	case u.User != nil:
		return nil, hook.Errorf(hook.Usage, "the S3 endpoint must have no credentials in it")
	case u.Scheme == "http" && !plainHTTP:
		return nil, hook.Errorf(hook.Usage, "the S3 endpoint %s is not encrypted: use https://, or admit plain HTTP", endpoint)
	}
	return u, nil
}

var (
	bucketPattern = regexp.MustCompile(`^[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]$`)
	// awsPattern finds the region in an address of AWS.
	awsPattern = regexp.MustCompile(`^s3[.-](?:dualstack\.)?([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)
)

func region(opts S3Options, endpoint *url.URL) string {
	if opts.Region != "" {
		return opts.Region
	}
	if found := awsPattern.FindStringSubmatch(endpoint.Hostname()); found != nil {
		return found[1]
	}
	return "us-east-1"
}

// inHost decides whether the bucket's name goes into the host. Some services want it there and nowhere else. A
// certificate for all buckets does not hold for a name with a dot.
func inHost(opts S3Options, endpoint *url.URL) bool {
	if opts.PathStyle != nil {
		return !*opts.PathStyle
	}
	return !strings.Contains(opts.Bucket, ".") && slices.ContainsFunc(
		[]string{".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com", ".myqcloud.com", ".googleapis.com"},
		func(domain string) bool { return strings.HasSuffix(endpoint.Hostname(), domain) })
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
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial(idleTime),
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		// It begins while the kernel still sends the end of the content.
		ResponseHeaderTimeout: idleTime,
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
	err := s.retry(ctx, "write "+key, func(ctx context.Context) error {
		resp, err := s.send(ctx, request{method: http.MethodPut, key: s.key(key), content: content})
		if err != nil {
			return err
		}
		return resp.Body.Close()
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
		resp, err := s.send(ctx, request{method: http.MethodGet, key: s.key(key)})
		if err != nil {
			return err
		}
		defer resp.Body.Close() //nolint:errcheck // It was only read.
		if resp.ContentLength > limit {
			return &tooLargeError{key, limit}
		}
		buffer := bytes.NewBuffer(make([]byte, 0, max(0, resp.ContentLength)+bytes.MinRead))
		n, err := buffer.ReadFrom(io.LimitReader(resp.Body, limit+1))
		switch {
		case err != nil:
			return err
		case n > limit:
			return &tooLargeError{key, limit}
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
		resp, err := s.send(ctx, request{method: http.MethodHead, key: s.key(key)})
		if err != nil {
			return err
		}
		o.Size = resp.ContentLength
		o.Modified, _ = http.ParseTime(resp.Header.Get("Last-Modified"))
		return resp.Body.Close()
	})
	return o, err
}

// List asks for a thousand objects at a time.
func (s *S3) List(ctx context.Context, prefix string, deep bool) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		base := s.key("")
		for token := ""; ; {
			var p page
			err := s.retry(ctx, "list "+cmp.Or(prefix, "all"), func(ctx context.Context) error {
				var err error
				p, err = s.listPage(ctx, base+prefix, token, deep)
				return err
			})
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, o := range p.objects() {
				// Some tools create an object that is named like a folder.
				if !strings.HasPrefix(o.Key, base+prefix) || o.Key == base+prefix || deep && o.IsFolder() {
					continue
				}
				o.Key = strings.TrimPrefix(o.Key, base)
				if !yield(o, nil) {
					return
				}
			}
			if !p.IsTruncated || p.Next == "" || p.Next == token {
				return
			}
			token = p.Next
		}
	}
}

// objects are the objects and the folders of a page.
func (p page) objects() []Object {
	var list []Object
	for _, o := range p.Contents {
		list = append(list, Object{Key: o.Key, Size: o.Size, Modified: o.LastModified})
	}
	for _, folder := range p.Folders {
		list = append(list, Object{Key: folder.Prefix})
	}
	return list
}

// Delete removes an object.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := s.retry(ctx, "delete "+key, func(ctx context.Context) error {
		resp, err := s.send(ctx, request{method: http.MethodDelete, key: s.key(key)})
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	if isMissing(err) {
		return nil
	}
	return err
}

// retry repeats a request that the service did not answer, and explains what it refused.
func (s *S3) retry(ctx context.Context, what string, do func(context.Context) error) error {
	for attempt, pause := 1, s.pause; ; attempt, pause = attempt+1, 2*pause {
		err := do(ctx)
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
