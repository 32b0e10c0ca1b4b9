package offsite

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

func sorted(list []string) []string { slices.Sort(list); return list }

// openTest opens a bucket on a server of a test.
func openTest(t *testing.T, endpoint string, change func(*S3Options)) *S3 {
	t.Helper()
	opts := S3Options{
		Endpoint: endpoint, PlainHTTP: true, Bucket: "backups", Prefix: "production",
		Credentials: func() (S3Credentials, error) {
			return S3Credentials{AccessKey: "AKIDTEST", SecretKey: "very-secret-key"}, nil
		},
	}
	if change != nil {
		change(&opts)
	}
	s, err := NewS3(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.pause = time.Millisecond
	return s
}

func refuse(w http.ResponseWriter, status int, code, message, region string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><Region>%s</Region></Error>`,
		code, message, region)
}

func TestWhatAServiceRefuses(t *testing.T) {
	for _, test := range []struct {
		status                int
		code, message, region string
		id                    finding.ID
		says                  string
	}{
		{404, "NoSuchBucket", "The specified bucket does not exist", "", finding.OffsiteBucket, "create the bucket"},
		{403, "AccessDenied", "Access Denied", "", finding.OffsiteAccess, "s3:PutObject"},
		{405, "MethodNotAllowed", "The gateway is read only", "", finding.OffsiteAccess, "read only"},
		{507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.", "", finding.OffsiteFull, "quota"},
		{403, "QuotaExceeded", "The quota set for the bucket is exceeded.", "", finding.OffsiteFull, "bucket is full"},
		{507, "Whatever", "", "", finding.OffsiteFull, "make room"},
		{400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-central-1'", "eu-central-1",
			finding.OffsiteRegion, "set global.backup.s3.region to eu-central-1"},
		{301, "PermanentRedirect", "Use another endpoint", "", finding.OffsiteRegion, "another region"},
		{403, "InvalidAccessKeyId", "The key does not exist", "", finding.OffsiteCredentials, "does not accept the access key"},
		{403, "SignatureDoesNotMatch", "The signature differs", "", finding.OffsiteCredentials, "secret key"},
		{400, "ExpiredToken", "The provided token has expired.", "", finding.OffsiteCredentials, "have expired"},
		{403, "RequestTimeTooSkewed", "The difference is too large.", "", finding.OffsiteClock, "timedatectl"},
		{400, "InvalidRequest", "Object is WORM protected and cannot be overwritten", "", finding.OffsiteLocked, "retention time"},
		{403, "AccessDenied", "Access Denied because object protected by object lock.", "", finding.OffsiteLocked, "locked"},
		{409, "FileImmutable", "The object is immutable", "", finding.OffsiteLocked, "locked"},
		{418, "Teapot", "short and stout", "", finding.OffsiteRefused, "Teapot (short and stout"},
	} {
		t.Run(test.code, func(t *testing.T) {
			requests := atomic.Int32{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				refuse(w, test.status, test.code, test.message+"\u202e", test.region)
			}))
			defer server.Close()
			store := openTest(t, server.URL, nil)
			err := store.Put(t.Context(), "nap.neutree/x/backup.json", []byte("content"))
			wantFinding(t, err, test.id, test.says, "s3://backups/production")
			if hook.CodeOf(err) != hook.Refused || requests.Load() != 1 {
				t.Errorf("exit code %d after %d requests: %v", hook.CodeOf(err), requests.Load(), err)
			}
			if strings.Contains(err.Error(), "very-secret-key") || strings.Contains(err.Error(), "\u202e") {
				t.Errorf("it says %q", err)
			}
		})
	}
}

func TestAServiceThatDoesNotAnswerIsTriedAgain(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	requests := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch requests.Add(1) {
		case 1:
			refuse(w, 503, "SlowDown", "Please reduce your request rate.", "")
		case 2:
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, content[:400])
			// The rest does not come: the connection is cut.
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, content)
		}
	}))
	defer server.Close()
	got, err := openTest(t, server.URL, nil).Get(t.Context(), "x", 1000)
	if err != nil || string(got) != content || requests.Load() != 3 {
		t.Errorf("read %d bytes with %d requests: %v", len(got), requests.Load(), err)
	}
}

func TestAServiceThatStaysAway(t *testing.T) {
	requests := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		requests.Add(1)
		panic(http.ErrAbortHandler)
	}))
	store := openTest(t, server.URL, nil)
	err := store.Put(t.Context(), "x", []byte("content"))
	wantFinding(t, err, finding.OffsiteUnreachable, server.URL, "NetworkPolicies")
	// A retry by a later pod may help.
	if hook.CodeOf(err) != hook.Unexpected || requests.Load() < attempts {
		t.Errorf("exit code %d after %d requests", hook.CodeOf(err), requests.Load())
	}
	server.Close()
	wantFinding(t, store.Put(t.Context(), "x", []byte("content")), finding.OffsiteUnreachable, "connection refused")
}

func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	// It would log the handshakes that fail.
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	err := openTest(t, server.URL, nil).Put(t.Context(), "x", []byte("content"))
	wantFinding(t, err, finding.OffsiteCertificate, "no CA that is trusted", "global.backup.s3.caSecret")

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	trusting := func(o *S3Options) { o.CA = ca }
	if err := openTest(t, server.URL, trusting).Put(t.Context(), "x", []byte("content")); err != nil {
		t.Error(err)
	}
	other := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	err = openTest(t, other, trusting).Put(t.Context(), "x", []byte("content"))
	wantFinding(t, err, finding.OffsiteCertificate, "for another name")

	_, err = NewS3(S3Options{Endpoint: server.URL, Bucket: "backups", CA: []byte("none"),
		Credentials: func() (S3Credentials, error) { return S3Credentials{AccessKey: "a", SecretKey: "b"}, nil }})
	wantFinding(t, err, finding.OffsiteCertificate, "hold no certificate")

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	err = openTest(t, strings.Replace(plain.URL, "http:", "https:", 1), nil).Put(t.Context(), "x", []byte("content"))
	wantFinding(t, err, finding.OffsiteEndpoint, "without TLS")
	err = openTest(t, plain.URL, nil).Put(t.Context(), "x", []byte("content"))
	wantFinding(t, err, finding.OffsiteEndpoint, "no S3 service")
}

func TestS3OptionsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*S3Options){
		"plain HTTP":     func(o *S3Options) { o.Endpoint, o.PlainHTTP = "http://s3.example.com", false },
		"a path":         func(o *S3Options) { o.Endpoint = "https://s3.example.com/backups" },
		"credentials":    func(o *S3Options) { o.Endpoint = "https://me:password@s3.example.com" },
		"no scheme":      func(o *S3Options) { o.Endpoint = "s3.example.com" },
		"bucket":         func(o *S3Options) { o.Bucket = "Not_A_Bucket" },
		"prefix":         func(o *S3Options) { o.Prefix = "../x" },
		"no credentials": func(o *S3Options) { o.Credentials = func() (S3Credentials, error) { return S3Credentials{}, nil } },
	} {
		t.Run(name, func(t *testing.T) {
			opts := S3Options{Endpoint: "https://s3.example.com", Bucket: "backups",
				Credentials: func() (S3Credentials, error) { return S3Credentials{AccessKey: "a", SecretKey: "b"}, nil }}
			if _, err := NewS3(opts); err != nil {
				t.Fatal(err)
			}
			change(&opts)
			_, err := NewS3(opts)
			if code := hook.CodeOf(err); code != hook.Usage && code != hook.Refused {
				t.Errorf("it is %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "password") {
				t.Errorf("the password is in: %v", err)
			}
		})
	}
}

func TestWhereTheBucketsNameGoes(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		endpoint, bucket string
		style            *bool
		host             string
	}{
		{"https://s3.eu-central-1.amazonaws.com", "backups", nil, "backups.s3.eu-central-1.amazonaws.com"},
		{"https://oss-cn-hangzhou.aliyuncs.com", "backups", nil, "backups.oss-cn-hangzhou.aliyuncs.com"},
		{"https://cos.ap-guangzhou.myqcloud.com", "backups-125", nil, "backups-125.cos.ap-guangzhou.myqcloud.com"},
		{"https://storage.googleapis.com", "backups", nil, "backups.storage.googleapis.com"},
		{"https://minio.example.com:9000", "backups", nil, "minio.example.com:9000"},
		{"https://rgw.example.com", "backups", &no, "backups.rgw.example.com"},
		{"https://storage.googleapis.com", "backups", &yes, "storage.googleapis.com"},
	} {
		store := openTest(t, test.endpoint, func(o *S3Options) { o.Bucket, o.PathStyle = test.bucket, test.style })
		if u := store.address("x"); u.Host != test.host {
			t.Errorf("%s: %s", test.endpoint, u)
		}
	}
}

func TestListGoesThroughAllPages(t *testing.T) {
	requests := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if requests.Add(1) == 2 {
			refuse(w, 500, "InternalError", "We encountered an internal error.", "")
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		page := func(keys string, next string) {
			_, _ = fmt.Fprintf(w, `<ListBucketResult><Name>backups</Name><IsTruncated>%t</IsTruncated><NextContinuationToken>%s</NextContinuationToken>%s</ListBucketResult>`,
				next != "", next, keys)
		}
		folder := func(name string) string {
			return "<CommonPrefixes><Prefix>production/" + name + "/</Prefix></CommonPrefixes>"
		}
		switch {
		case query.Get("continuation-token") == "two":
			page(folder("c"), "")
		default:
			page(folder("a")+folder("b"), "two")
		}
	}))
	defer server.Close()
	store := openTest(t, server.URL, nil)
	var got []string
	for object, err := range store.List(t.Context(), "", false) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, object.Key)
	}
	if !slices.Equal(got, []string{"a/", "b/", "c/"}) {
		t.Errorf("listed %v", got)
	}
}

// A line that is slow is used for as long as it moves bytes, and one that moves none counts as cut.
func TestSlowLines(t *testing.T) {
	const idle = time.Second
	stalls, done := atomic.Bool{}, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for buffer := make([]byte, 1<<20); ; {
			if _, err := io.ReadFull(r.Body, buffer); err != nil {
				return
			}
			if stalls.Load() {
				<-done
				return
			}
			time.Sleep(idle / 10)
		}
	}))
	defer server.Close()
	defer close(done)
	store := openTest(t, server.URL, nil)
	transport, _ := store.client.Transport.(*http.Transport)
	transport.DialContext = dial(idle)
	content := make([]byte, 32<<20)
	began := time.Now()
	if err := store.Put(t.Context(), "x", content); err != nil || time.Since(began) < 2*idle {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	stalls.Store(true)
	wantFinding(t, store.Put(t.Context(), "x", content), finding.OffsiteUnreachable, "did not answer in time")
}
