package prepare

import (
	"errors"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// A database is seeded once for each list of seeds, after it was migrated and before any service is replaced.
func TestSeedsWhatWasMigrated(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	var seeds int
	s.during = func(line string) {
		if !strings.HasPrefix(line, "nap-seed ") {
			return
		}
		seeds++
		if !s.migrated() {
			t.Error("the seeds ran before the migrations")
		}
		spec, err := hook.ReadSpec[hook.SeedSpec](s.spec.Seed.Spec)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := spec.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if err := migrate.RecordSeeded(t.Context(), s.url, digest); err != nil {
			t.Fatal(err)
		}
	}
	s.wantDone("nap-seed done")
	s.wantDone("the schema was up to date")
	if seeds != 1 {
		t.Errorf("the seeds ran %d times in two upgrades that are alike, want once", seeds)
	}
}

// Services of before stay as they are when a seed fails.
func TestAFailedSeedEndsTheUpgrade(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.outcome["nap-seed"] = errors.New(`seed admin failed: exit status 1; the last it said was "no such table"`)
	if said, err := s.prepare(); err == nil || !strings.Contains(err.Error(), "seed admin failed") {
		t.Errorf("%q, %v", said, err)
	}
}

// What can't be asked is seeded after it was set up.
func TestNoSeedsWithoutADatabase(t *testing.T) {
	s := newStage(t, "")
	s.during = func(line string) { t.Errorf("it ran %s", line) }
	s.wantDone("bootstrap will migrate it")
}
