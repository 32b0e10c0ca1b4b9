package restorefrom_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

func TestLocation(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID",
		"AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	if err := os.WriteFile(file, []byte("[two words]\naws_access_key_id = x\n[one]\n# a comment\naws_access_key_id = a\naws_secret_access_key = b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(from string) restorefrom.Location {
		return restorefrom.Location{From: from, Credentials: file, Profile: "one"}
	}
	for name, tc := range map[string]struct {
		location restorefrom.Location
		code     hook.Code
		want     string
	}{
		"a folder":              {restorefrom.Location{From: dir}, hook.OK, dir},
		"no folder":             {restorefrom.Location{From: dir + "/none"}, hook.Refused, "there is no such folder"},
		"AWS":                   {with("s3://backups/neutree"), hook.OK, "s3://backups/neutree"},
		"a query":               {with("s3://backups/neutree?endpoint=https://s3.example.com&region=eu&path-style=true"), hook.OK, "s3://backups/neutree"},
		"an unknown option":     {with("s3://backups?key=x"), hook.Usage, `--from has the option "key"`},
		"a secret":              {with("s3://key:secret@backups"), hook.Usage, "--from must have no credentials in it"},
		"another scheme":        {with("https://backups"), hook.Usage, "--from must be s3://bucket/prefix or a folder"},
		"no TLS":                {with("s3://backups?endpoint=http://s3.example.com"), hook.Usage, "is not encrypted"},
		"no TLS, admitted":      {with("s3://backups?endpoint=http://s3.example.com&plain-http=true"), hook.OK, "s3://backups"},
		"no path style":         {with("s3://backups?path-style=perhaps"), hook.Usage, `path-style must be true or false, not "perhaps"`},
		"no CA":                 {restorefrom.Location{From: "s3://backups", CAFile: dir + "/none"}, hook.Usage, "read the CA certificate"},
		"no credentials":        {restorefrom.Location{From: "s3://backups"}, hook.Refused, "there are no credentials for S3 in the environment variables"},
		"no such file":          {restorefrom.Location{From: "s3://backups", Credentials: dir + "/none"}, hook.Usage, "read the credentials for S3"},
		"no such profile":       {restorefrom.Location{From: "s3://backups", Credentials: file, Profile: "two"}, hook.Refused, "[offsite.credentials]"},
		"a bucket that is none": {with("s3://B/x"), hook.Usage, "is no name of a bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := tc.location.Open(slog.New(slog.DiscardHandler))
			if tc.code != hook.OK {
				wantFailure(t, err, tc.code, tc.want)
				if strings.Contains(err.Error(), "key:secret") {
					t.Errorf("the message has the credentials: %v", err)
				}
				return
			}
			if err != nil || store.String() != tc.want {
				t.Errorf("%v: %v, want %s", store, err, tc.want)
			}
		})
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	if _, err := (restorefrom.Location{From: "s3://backups"}).Open(slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
