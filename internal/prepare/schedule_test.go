package prepare

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// The API server would refuse the CronJob when the database is migrated.
func TestATimeZoneThatThereIsNotIsRefused(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.spec.TimeZone = "Europe/Berlim"
	s.wantRefused(`global.backup.timeZone "Europe/Berlim" is no time zone`, "such as Europe/Berlin", "[backup.schedule]")
	s.spec.TimeZone = "Europe/Berlin"
	s.wantDone("1 migrations applied")
}

// From its own backup until its end an upgrade has the database and the volume of backups for itself.
func TestScheduledBackupsGiveWayToAnUpgrade(t *testing.T) {
	url := pgtest.Start(t)
	s := newStage(t, url, running)
	s.saves()
	s.wantDone("1 migrations applied")
	second := filepath.Join(s.folder.Dir, "002_second.sql")
	if err := os.WriteFile(second, []byte("CREATE TABLE second (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ran, s.folder.Set, s.spec.Migrate.Sets[0].Set = nil, "set-2", "set-2"
	runs := map[string]bool{}
	watched, done, err := migrate.GiveWay(t.Context(), slog.New(slog.DiscardHandler), url)
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-watched.Done(); done() }()
	s.during = func(job string) {
		_, done, err := migrate.GiveWay(t.Context(), slog.New(slog.DiscardHandler), url)
		if err == nil {
			done()
		}
		name, _, _ := strings.Cut(job, " ")
		if strings.HasSuffix(job, unlessPending) {
			return
		}
		runs[name] = hook.CodeOf(err) != hook.Busy
	}
	s.wantDone("nap-backup done", "1 migrations applied")
	for _, job := range []string{"nap-backup", "nap-migrate"} {
		if may, ran := runs[job]; may || !ran {
			t.Errorf("Job %s ran: %t, and a scheduled backup may start meanwhile: %t", job, ran, may)
		}
	}
	_, done, err = migrate.GiveWay(t.Context(), slog.New(slog.DiscardHandler), url)
	if err != nil {
		t.Fatalf("after the upgrade: %v", err)
	}
	done()
}
