package migrate

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// fileError is the failure of one statement of a file.
type fileError struct {
	// completed counts the statements before it.
	completed int
	err       error
}

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// shownStatement is how much of a statement a message shows.
const shownStatement = 200

// failed explains a failure that lies with the file or with the data it meets.
func (m Migrator) failed(f File, sql string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("migration %s: %w", f.Name(), err)
	}
	cause := fmt.Sprintf("%s (SQLSTATE %s)", pg.Message, pg.Code)
	if pg.Hint != "" {
		cause += ", hint: " + pg.Hint
	}
	// A statement that shows the key in an error must not carry it into a log.
	if m.CredentialKey != "" {
		cause = strings.ReplaceAll(cause, m.CredentialKey, "***")
	}
	where := ""
	var fe *fileError
	if errors.As(err, &fe) {
		if line, statement := locate(sql, fe.completed, int(pg.Position)); line > 0 {
			where = fmt.Sprintf(" at line %d: %s, in the statement %q", line, cause, shorten(statement, shownStatement))
		}
	}
	if where == "" {
		where = ": " + cause
	}
	return &hook.Error{Code: hook.MigrationFailed, Err: finding.List{{
		ID: finding.MigrationsFailed, Severity: finding.Error, Object: "migration " + f.Name(), Value: "global.images." + f.Source.ImageKey,
		Found: fmt.Sprintf("migration %s failed%s", f.Name(), where),
		Why:   "nothing of this file was kept, the ones before it were",
		Fix: fmt.Sprintf("fix what the statement found in the database, or use an image of %s with a corrected file; "+
			"then run helm upgrade again",
			f.Source.Name),
	}}}
}

// locate finds the statement that failed: by its position in characters where the server gave one,
// else by the number of statements that went well before it.
func locate(sql string, completed, position int) (line int, statement string) {
	statements := split(sql)
	offset := -1
	if position > 0 {
		offset = byteOffset(sql, position-1)
	}
	for i, s := range statements {
		if position > 0 && offset < s.end || position == 0 && i == completed {
			if offset < 0 {
				offset = s.start
			}
			return 1 + strings.Count(sql[:offset], "\n"), sql[s.start:s.end]
		}
	}
	return 0, ""
}

func byteOffset(s string, characters int) int {
	offset := 0
	for ; characters > 0 && offset < len(s); characters-- {
		_, size := utf8.DecodeRuneInString(s[offset:])
		offset += size
	}
	return offset
}

// shorten puts s on one line of at most limit characters.
func shorten(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return s[:byteOffset(s, limit)] + "…"
}
