package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// attemptFile of the store says that a restore has started to replace the database. It outlives the pod that does so.
const attemptFile = ".restore.json"

// attempt is one restore, of which there may be several runs: of pods that replace each other, and of clients.
type attempt struct {
	b *Backup
	// ID is the client's, Transaction the number of the one in which this run replaces the database.
	ID          string `json:"id"`
	Transaction string `json:"transaction"`
	// Replaced says that an earlier run, or this one, has replaced the platform's database.
	Replaced bool `json:"replaced,omitempty"`
}

// touched says whether a run of the attempt with this id has started to replace the database.
func (b *Backup) touched(id string) bool {
	var left attempt
	raw, err := os.ReadFile((&attempt{b: b}).path())
	return err == nil && json.Unmarshal(raw, &left) == nil && left.ID == id
}

// attemptID is what the client calls the attempt, "" where it says nothing.
func (b *Backup) attemptID() (string, error) {
	if b.Note == "" {
		return "", nil
	}
	id, err := os.ReadFile(filepath.Join(b.Note, restorenote.IDKey))
	if err != nil {
		return "", fmt.Errorf("read the note of the restore: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// readAttempt finds out what earlier runs of the same attempt have left. What another attempt left is over: services
// have run on it since, or the client has decided to restore something else.
func (b *Backup) readAttempt(ctx context.Context, id string) (*attempt, error) {
	a := &attempt{b: b, ID: id}
	raw, err := os.ReadFile(a.path())
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how far the restore is: %w", err)
	}
	var left attempt
	if err := json.Unmarshal(raw, &left); err != nil {
		return nil, fmt.Errorf("read how far the restore is: %s: %w", a.path(), err)
	}
	if left.ID != a.ID {
		return a, a.forget()
	}
	left.b = b
	if _, err := left.settle(ctx); err != nil {
		return nil, err
	}
	a.Replaced = left.Replaced
	return a, nil
}

func (a *attempt) path() string { return filepath.Join(a.b.Spec.Dir, attemptFile) }

// begin notes the transaction that is going to replace the database.
func (a *attempt) begin(transaction string) error {
	a.Transaction = transaction
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := a.b.replaceFile(attemptFile, raw); err != nil {
		return fmt.Errorf("note the transaction: %w", err)
	}
	return nil
}

// forget removes the file: the restore has ended, or has changed nothing.
func (a *attempt) forget() error {
	if err := os.Remove(a.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget how far the restore was: %w", err)
	}
	return nil
}

// settleWait bounds the wait for the server to end a transaction whose client has gone.
const settleWait = 30 * time.Second

// settle asks the server how the transaction ended, also when ctx has ended: its client may have gone before the answer
// came. A transaction that the server does not know any more counts as committed, since services must not run then.
func (a *attempt) settle(ctx context.Context) (committed bool, err error) {
	if a.Transaction == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait)
	defer cancel()
	const what = "the transaction that replaces the database to end"
	err = hook.Poll(ctx, a.b.Log, what, func(ctx context.Context) (bool, string, error) {
		conn, err := migrate.Connect(ctx, a.b.DatabaseURL)
		if err != nil {
			return false, migrate.Reason(err), nil
		}
		defer migrate.Close(ctx, conn)
		var status *string
		if err := conn.QueryRow(ctx, "SELECT txid_status($1::text::bigint)", a.Transaction).Scan(&status); err != nil {
			return false, migrate.Reason(err), nil
		}
		if status != nil && *status == "in progress" {
			return false, "it is in progress", nil
		}
		committed = status == nil || *status == "committed"
		return true, "", nil
	})
	if err != nil {
		a.Replaced = true
		return false, fmt.Errorf("it is not known whether the database was replaced: %w", err)
	}
	a.Replaced = a.Replaced || committed
	return committed, nil
}

// failed gives an error that came before the end of the restore the exit code that says what the databases are.
func (a *attempt) failed(err error) error {
	if a.Replaced {
		return &hook.Error{Code: hook.HalfRestored, Err: fmt.Errorf("the databases are half restored: %w", err)}
	}
	if ferr := a.forget(); ferr != nil {
		return errors.Join(err, ferr)
	}
	switch hook.CodeOf(err) {
	case hook.Usage, hook.Refused, hook.Busy:
		return err
	}
	return &hook.Error{Code: hook.Unchanged, Err: err}
}

// announce has psql say the number of the transaction that it is in.
const announce = "SELECT '" + announcePrefix + "' || txid_current();\n"

const announcePrefix = "the transaction is "

// announcement reads that from what psql writes, and drops the rest.
type announcement struct {
	numbers chan string
	line    []byte
	heard   bool
}

func (a *announcement) Write(p []byte) (int, error) {
	if a.heard {
		return len(p), nil
	}
	a.line = append(a.line, p...)
	for {
		line, rest, whole := bytes.Cut(a.line, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		a.line = rest
		if number, is := strings.CutPrefix(string(line), announcePrefix); is {
			a.numbers <- number
			a.heard, a.line = true, nil
			return len(p), nil
		}
	}
}
