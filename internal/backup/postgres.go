package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/platform"
)

// command makes one of PostgreSQL's programs ready to run.
func (b *Backup) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.Bin, program), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// connection tells a program how to reach the database. The password goes by the environment: everybody on the node
// can read arguments.
func (b *Backup) connection(cmd *exec.Cmd) (*exec.Cmd, error) {
	u, err := url.Parse(b.DatabaseURL)
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "DATABASE_URL is no URL")
	}
	query := u.Query()
	password, inUser := u.User.Password()
	if !inUser {
		password = query.Get("password")
	}
	query.Del("password")
	u.RawQuery = platform.Query(query)
	u.User = url.User(u.User.Username())
	cmd.Args = append(cmd.Args, "--dbname="+u.String(), "--no-password")
	application := "nap-hooks backup"
	if b.job != "" {
		application = migrate.ScheduledApplication
	}
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password, "PGAPPNAME="+application, "PGCONNECT_TIMEOUT=10", "LC_ALL=C")
	return cmd, nil
}

// run runs a program to its end. An error holds what the program said last.
func run(cmd *exec.Cmd, stdout io.Writer) error {
	var stderr tail
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	return explain(cmd, cmd.Run(), &stderr)
}

func explain(cmd *exec.Cmd, err error, stderr *tail) error {
	name := filepath.Base(cmd.Path)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return hook.Refusef(finding.BackupPrograms,
			"set global.backup.image to one that holds PostgreSQL's client programs",
			"the image has no %s", name)
	}
	if err == nil {
		return nil
	}
	said := stderr.String()
	if strings.Contains(said, "No space left on device") || strings.Contains(said, "Disk quota exceeded") {
		return fmt.Errorf("%s: %w (%s)", name, syscall.ENOSPC, said)
	}
	return fmt.Errorf("%s: %w: %s", name, err, said)
}

// tail keeps the end of what a program says.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	const most = 1500
	t.buf.Write(p)
	if extra := t.buf.Len() - most; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

// String is one line.
func (t *tail) String() string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(t.buf.String(), "")), " ")
}

var versionPattern = regexp.MustCompile(`\) (\d+)`)

// checkMajor refuses programs of another major version than the server's: an older one can't read the database, and
// what a newer one writes the server may not understand when it comes back.
func (b *Backup) checkMajor(ctx context.Context, serverMajor int) error {
	var out bytes.Buffer
	if err := run(b.command(ctx, "pg_dump", "--version"), &out); err != nil {
		return err
	}
	m := versionPattern.FindStringSubmatch(out.String())
	if m == nil {
		return fmt.Errorf("pg_dump does not tell its version but %q", out.String())
	}
	if major, _ := strconv.Atoi(m[1]); major != serverMajor {
		return hook.Refusef(finding.BackupPrograms,
			fmt.Sprintf("set global.backup.image to an image of PostgreSQL %d", serverMajor),
			"the image holds PostgreSQL %d's programs, and the server is PostgreSQL %d", major, serverMajor)
	}
	return nil
}
