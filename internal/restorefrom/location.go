package restorefrom

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
)

// Location is where copies are, and how a person reaches it.
type Location struct {
	// From is s3://bucket/prefix, or a folder. The options below may be in its query: endpoint, region, path-style,
	// plain-http.
	From string
	// Endpoint, Region, CAFile and PathStyle are of an S3 service. PathStyle is true, false or empty.
	Endpoint, Region, CAFile, PathStyle string
	PlainHTTP                           bool
	// Credentials is a file as of the AWS command line, with Profile in it. Without it they come from the environment.
	Credentials, Profile string
}

// Open opens the store. No request is sent yet. Environment variables are those of the AWS command line.
func (l Location) Open(log *slog.Logger) (offsite.Store, error) {
	u, err := url.Parse(l.From)
	if err != nil || u.Scheme != "s3" {
		if strings.Contains(l.From, "://") {
			return nil, hook.Errorf(hook.Usage, "--from must be s3://bucket/prefix or a folder")
		}
		return offsite.NewFolder(l.From, "")
	}
	if u.User != nil {
		return nil, hook.Errorf(hook.Usage, "--from must have no credentials in it: put them into AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or name a file with --s3-credentials")
	}
	if err := l.readQuery(u.RawQuery); err != nil {
		return nil, err
	}
	region := cmp.Or(l.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	opts := offsite.S3Options{
		Endpoint: cmp.Or(l.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), awsEndpoint(region)),
		Region:   region, Bucket: u.Host, Prefix: u.Path, PlainHTTP: l.PlainHTTP, Credentials: l.credentials, Log: log,
	}
	if l.PathStyle != "" {
		is, err := strconv.ParseBool(l.PathStyle)
		if err != nil {
			return nil, hook.Errorf(hook.Usage, "path-style must be true or false, not %q", l.PathStyle)
		}
		opts.PathStyle = &is
	}
	if l.CAFile != "" {
		if opts.CA, err = os.ReadFile(l.CAFile); err != nil {
			return nil, hook.Errorf(hook.Usage, "read the CA certificate: %w", err)
		}
	}
	return offsite.NewS3(opts)
}

// readQuery takes options from a URL. A flag wins.
func (l *Location) readQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return hook.Errorf(hook.Usage, "--from has a query that can't be read: %w", err)
	}
	for key := range query {
		value := query.Get(key)
		switch key {
		case "endpoint":
			l.Endpoint = cmp.Or(l.Endpoint, value)
		case "region":
			l.Region = cmp.Or(l.Region, value)
		case "path-style":
			l.PathStyle = cmp.Or(l.PathStyle, value)
		case "plain-http":
			is, err := strconv.ParseBool(value)
			if err != nil {
				return hook.Errorf(hook.Usage, "plain-http must be true or false, not %q", value)
			}
			l.PlainHTTP = l.PlainHTTP || is
		default:
			return hook.Errorf(hook.Usage,
				"--from has the option %q, and there are endpoint, region, path-style and plain-http", key)
		}
	}
	return nil
}

// awsEndpoint is that of AWS itself.
func awsEndpoint(region string) string {
	if region == "" {
		return "https://s3.amazonaws.com"
	}
	return "https://s3." + region + ".amazonaws.com"
}

// credentials reads an access key from the file that was named, or from the environment.
func (l Location) credentials() (offsite.S3Credentials, error) {
	where := "the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	found := offsite.S3Credentials{AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN")}
	if l.Credentials != "" {
		profile := cmp.Or(l.Profile, "default")
		where = fmt.Sprintf("profile %s of the file %s", profile, l.Credentials)
		raw, err := os.ReadFile(l.Credentials)
		if err != nil {
			return found, hook.Errorf(hook.Usage, "read the credentials for S3: %w", err)
		}
		found = readProfile(string(raw), profile)
	}
	if found.AccessKey == "" || found.SecretKey == "" {
		return found, hook.Refusef(finding.OffsiteCredentials,
			"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with --s3-credentials, and the profile in it with "+
				"--s3-profile",
			"there are no credentials for S3 in %s", where)
	}
	return found, nil
}

// readProfile reads one profile of a file as the AWS command line has it.
func readProfile(text, profile string) offsite.S3Credentials {
	var found offsite.S3Credentials
	within := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			within = strings.TrimSpace(strings.Trim(line, "[]")) == profile
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch key = strings.TrimSpace(key); {
		case !within:
		case key == "aws_access_key_id":
			found.AccessKey = value
		case key == "aws_secret_access_key":
			found.SecretKey = value
		case key == "aws_session_token":
			found.SessionToken = value
		}
	}
	return found
}
