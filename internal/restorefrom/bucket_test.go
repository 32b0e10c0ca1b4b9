package restorefrom_test

import (
	"log/slog"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorefrom"
	"github.com/neutree-ai/packaging/internal/restorefrom/restorefromtest"
	"github.com/neutree-ai/packaging/internal/s3test"
)

// From a bucket of a real S3 server, as a person names it.
func TestFromABucket(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	location := restorefrom.Location{From: "s3://" + server.Bucket + "/of/nap?plain-http=true&endpoint=" + server.URL}
	quiet := slog.New(slog.DiscardHandler)
	store, err := location.Open(quiet)
	if err != nil {
		t.Fatal(err)
	}
	_, err = restorefrom.List(t.Context(), store, "")
	wantFailure(t, err, hook.Refused, "there are no copies of backups in s3://backups/of/nap", "[backup.missing]")
	p := restorefromtest.New(t)
	p.Store = store
	p.Copy(neutree, "b1", noon)
	entries, err := restorefrom.List(t.Context(), store, "")
	if err != nil || len(entries) != 1 || entries[0].Name != "b1" {
		t.Fatalf("%v: %+v", err, entries)
	}
	found, err := restorefrom.Find(t.Context(), store, "", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restorefrom.Verify(t.Context(), quiet, found, nil); err != nil {
		t.Error(err)
	}
	opened, err := found.Unlock(t.Context(), []age.Identity{p.Identity})
	if err != nil {
		t.Fatal(err)
	}
	var tar strings.Builder
	if err := restorefrom.WriteTar(t.Context(), &tar, opened); err != nil || !strings.Contains(tar.String(), "rows of AFS's") {
		t.Errorf("%d bytes: %v", tar.Len(), err)
	}
	location.From = strings.Replace(location.From, server.Bucket, "none", 1)
	if store, err = location.Open(quiet); err != nil {
		t.Fatal(err)
	}
	_, err = restorefrom.List(t.Context(), store, "")
	wantFailure(t, err, hook.Refused, "[offsite.bucket]")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if store, err = location.Open(quiet); err != nil {
		t.Fatal(err)
	}
	_, err = restorefrom.List(t.Context(), store, "")
	wantFailure(t, err, hook.Refused, "[offsite.credentials]")
}
