package offsite

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // S3 wants it: some services know no other checksum.
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Five plain requests with a signature of version 4 are all that a store needs of S3, and every service knows them. A
// client for all of S3 would add a megabyte to the program that each node pulls.

// maxAnswer bounds what is read of an answer that is no object: a list has a thousand keys of up to 1024 bytes.
const maxAnswer = 8 << 20

// serviceError is what a service answers instead of what was asked for.
type serviceError struct {
	Status  int    `xml:"-"`
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
	Region  string `xml:"Region"`
}

func (e *serviceError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

// request is one request about the bucket, or about the object key of it.
type request struct {
	method, key string
	query       url.Values
	content     []byte
}

// send signs and sends a request. The caller closes the body of the answer.
func (s *S3) send(ctx context.Context, r request) (*http.Response, error) {
	u := s.address(r.key)
	u.RawQuery = canonicalQuery(r.query)
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.content))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(r.content)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	if r.method == http.MethodPut {
		sum := md5.Sum(r.content) //nolint:gosec // As above.
		req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	s.sign(req, time.Now().UTC())
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	refused := &serviceError{}
	// An answer to HEAD has no text, and one of another server is none of S3's.
	if body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10)); err != nil || xml.Unmarshal(body, refused) != nil {
		refused = &serviceError{Message: http.StatusText(resp.StatusCode)}
	}
	refused.Status = resp.StatusCode
	if region := resp.Header.Get("X-Amz-Bucket-Region"); region != "" && refused.Region == "" {
		refused.Region = region
	}
	return nil, refused
}

// address is where the bucket is, or an object in it.
func (s *S3) address(key string) *url.URL {
	u := *s.endpoint
	u.Path, u.RawPath = "/", "/"
	if s.inHost {
		u.Host = s.opts.Bucket + "." + u.Host
	} else {
		u.Path += s.opts.Bucket
		if key != "" {
			u.Path += "/"
		}
	}
	u.Path += key
	u.RawPath = escape(u.Path, true)
	return &u
}

// sign adds the signature of the credentials to a request.
func (s *S3) sign(req *http.Request, now time.Time) {
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	req.Header.Set("X-Amz-Date", stamp)
	if s.secret.SessionToken != "" {
		req.Header.Set("X-Amz-Security-Token", s.secret.SessionToken)
	}
	names := []string{"host"}
	for name := range req.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	var headers strings.Builder
	for _, name := range names {
		value := req.Header.Get(name)
		if name == "host" {
			value = req.URL.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{
		req.Method, req.URL.EscapedPath(), req.URL.RawQuery, headers.String(), signed, req.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
	scope := day + "/" + s.region + "/s3/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + s.secret.SecretKey)
	for _, part := range []string{day, s.region, "s3", "aws4_request"} {
		key = keyed(key, part)
	}
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x",
		s.secret.AccessKey, scope, signed, keyed(key, text)))
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// canonicalQuery writes a query as it is signed: sorted, and with %20 for a space.
func canonicalQuery(query url.Values) string {
	var pairs []string
	for name, values := range query {
		for _, value := range values {
			pairs = append(pairs, escape(name, false)+"="+escape(value, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape writes what S3 does not take for itself as %XX.
func escape(text string, path bool) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// page is a part of a list.
type page struct {
	XMLName     xml.Name `xml:"ListBucketResult"`
	IsTruncated bool     `xml:"IsTruncated"`
	Next        string   `xml:"NextContinuationToken"`
	Contents    []struct {
		Key          string    `xml:"Key"`
		Size         int64     `xml:"Size"`
		LastModified time.Time `xml:"LastModified"`
	} `xml:"Contents"`
	Folders []struct {
		Prefix string `xml:"Prefix"`
	} `xml:"CommonPrefixes"`
}

// listPage asks for up to a thousand objects.
func (s *S3) listPage(ctx context.Context, prefix, token string, deep bool) (page, error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}, "max-keys": {"1000"}}
	if !deep {
		query.Set("delimiter", "/")
	}
	if token != "" {
		query.Set("continuation-token", token)
	}
	var p page
	resp, err := s.send(ctx, request{method: http.MethodGet, query: query})
	if err != nil {
		return p, err
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return p, err
	}
	if err := xml.Unmarshal(raw, &p); err != nil {
		return p, &serviceError{Status: resp.StatusCode, Code: notS3, Message: "the answer is no list of objects"}
	}
	return p, nil
}
