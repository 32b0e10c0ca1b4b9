package restorefrom

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/offsite"
)

// Verify reads all of a copy. Without identities it compares what is stored with the description; with them it
// decrypts everything, compares the files with the checksums of when they were made, and has pg_restore read the list
// of the dump where that program is in PATH. It returns what it did not check. Nothing decrypted is written anywhere.
func Verify(ctx context.Context, log *slog.Logger, c *offsite.Copy, identities []age.Identity) (
	unchecked []string, err error) {
	log.Info("reading the copy", "backup", c.Backup.Name, "size", backup.Size(c.Bytes()))
	said := time.Now()
	err = c.Verify(ctx, func(bytes int64) {
		if time.Since(said) >= sayEvery {
			said = time.Now()
			log.Info("reading the copy", "read", backup.Size(bytes))
		}
	})
	if err != nil {
		return nil, err
	}
	log.Info("the copy is complete, and all of it has the checksums of its description")
	if len(identities) == 0 {
		return []string{"whether it can be decrypted, and what is in it: that takes --identity"}, nil
	}
	opened, err := c.Unlock(ctx, identities)
	if err != nil {
		return nil, err
	}
	for _, name := range c.FileNames() {
		if name == backup.DatabaseFile {
			continue
		}
		if err := drain(ctx, opened, name, io.Discard); err != nil {
			return nil, err
		}
	}
	missing, err := verifyDump(ctx, log, opened)
	if err != nil {
		return nil, err
	}
	escrow, err := opened.Escrow(ctx)
	if err != nil {
		return nil, err
	}
	log.Info("the copy is decrypted, and its files are those that were saved", "secrets", fmt.Sprint(len(escrow.Secrets)))
	return append(missing, "whether the dump can be played into a database: helm neutree backup restore does that"), nil
}

const sayEvery = 10 * time.Second

func drain(ctx context.Context, opened *offsite.Opened, name string, w io.Writer) error {
	f := opened.Open(ctx, name)
	defer f.Close() //nolint:errcheck // It was only read.
	_, err := io.Copy(w, f)
	return err
}

// verifyDump decrypts the dump, and has pg_restore list it.
func verifyDump(ctx context.Context, log *slog.Logger, opened *offsite.Opened) (unchecked []string, err error) {
	program, err := exec.LookPath("pg_restore")
	if err != nil {
		return []string{"whether pg_restore reads the dump: that program is not installed here"},
			drain(ctx, opened, backup.DatabaseFile, io.Discard)
	}
	cmd := exec.CommandContext(ctx, program, "--list")
	var list, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &list, &said
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", program, err)
	}
	// It reads the list alone, which is at the beginning.
	derr := drain(ctx, opened, backup.DatabaseFile, &untilClosed{w: input})
	_ = input.Close()
	err = cmd.Wait()
	if derr != nil {
		return nil, derr
	}
	if err != nil && strings.Contains(said.String(), "unsupported version") {
		return []string{"whether pg_restore reads the dump: the one that is installed here is older than the server's"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pg_restore does not read the dump of backup %s: %w: %s", opened.Backup.Name, err,
			strings.TrimSpace(said.String()))
	}
	log.Info("pg_restore reads the dump", "tables", fmt.Sprint(strings.Count(list.String(), " TABLE DATA ")))
	return nil, nil
}

// untilClosed writes to a pipe until its reader has enough.
type untilClosed struct {
	w      io.Writer
	closed bool
}

func (u *untilClosed) Write(p []byte) (int, error) {
	if !u.closed {
		_, err := u.w.Write(p)
		u.closed = err != nil
	}
	return len(p), nil
}
