package migrate_test

import (
	"log/slog"
	osexec "os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// BenchmarkOverhead compares a run over the files of the stand-ins' control plane and gateway, ledgers, lock and a
// connection for each file included, with psql, which applies the same files one after the other and keeps no record.
func BenchmarkOverhead(b *testing.B) {
	standin := filepath.Join("..", "..", "test", "standin", "migrations")
	folders := []hook.Migration{
		{Source: "control-plane", Dir: filepath.Join(standin, "control-plane")},
		{Source: "gateway", Dir: filepath.Join(standin, "gateway")},
		{Source: "control-plane", Dir: filepath.Join(standin, "ten")},
	}
	var ours, psql time.Duration
	for b.Loop() {
		url := pgtest.Start(b)
		started := time.Now()
		for i, folder := range folders {
			m := migrate.Migrator{URL: url, Log: slog.New(slog.DiscardHandler)}
			if _, err := m.Apply(b.Context(), testSet+string(rune('0'+i)), []hook.Migration{folder}); err != nil {
				b.Fatal(err)
			}
		}
		ours += time.Since(started)

		url = pgtest.Start(b)
		started = time.Now()
		for _, folder := range folders {
			args := []string{url, "--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1"}
			for _, file := range sqlFiles(b, folder.Dir) {
				// The baselines leave the session without a search path.
				args = append(args, "--file", file, "--command", "RESET search_path")
			}
			command := osexec.CommandContext(b.Context(), pgtest.Tool(b, "psql"), args...)
			command.Dir = "/"
			if output, err := command.CombinedOutput(); err != nil {
				b.Fatalf("psql: %v\n%s", err, output)
			}
		}
		psql += time.Since(started)
	}
	b.ReportMetric(ours.Seconds()*1000/float64(b.N), "ms/run")
	b.ReportMetric(psql.Seconds()*1000/float64(b.N), "ms/psql")
	b.ReportMetric(ours.Seconds()/psql.Seconds(), "times-psql")
}

func sqlFiles(b *testing.B, dir string) []string {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil || len(files) == 0 {
		b.Fatalf("migrations in %s: %v, %v", dir, files, err)
	}
	for i, file := range files {
		if files[i], err = filepath.Abs(file); err != nil {
			b.Fatal(err)
		}
	}
	return files
}
