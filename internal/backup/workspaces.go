package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// reconcileWorkspaces has every workspace that runs get a new token, and returns how many these are, and the ids of
// workspaces in the cluster that the restored database does not know.
func (b *Backup) reconcileWorkspaces(ctx context.Context) (renewed int64, unknown []string, err error) {
	ids, err := b.clusterWorkspaces()
	if err != nil {
		return 0, nil, err
	}
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return 0, nil, fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	if renewed, err = b.renewTokens(ctx, conn); err != nil {
		return 0, nil, fmt.Errorf("renew the tokens of the workspaces: %w", err)
	}
	unknown, err = migrate.UnknownWorkspaces(ctx, conn, ids)
	return renewed, unknown, err
}

// clusterWorkspaces are the ids that the client has noted.
func (b *Backup) clusterWorkspaces() ([]string, error) {
	if b.Note == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(filepath.Join(b.Note, restorenote.WorkspacesKey))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(raw)), err
}

// renewTokens raises the version of what is wanted of each workspace that should run. The env runner then applies it
// again and mints a token that the database knows: the one in the pod may have been minted after the backup, and the
// database keeps only hashes. Platforms before the tokens have nothing to renew.
func (b *Backup) renewTokens(ctx context.Context, conn *pgx.Conn) (int64, error) {
	rows, err := conn.Query(ctx, `SELECT table_name || '.' || column_name FROM information_schema.columns
 WHERE table_schema = 'public' AND table_name IN ('workspace_tokens', 'workspace_placements')`)
	if err != nil {
		return 0, err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	has := func(column string) bool { return slices.Contains(columns, column) }
	if !has("workspace_tokens.token_hash") {
		return 0, nil
	}
	if !has("workspace_placements.spec_version") || !has("workspace_placements.desired_phase") {
		b.Log.Warn("the database says otherwise than expected which workspaces run: restart those that were started " +
			"since the backup, since the platform does not know their tokens")
		return 0, nil
	}
	// The runner compares it with the version that it has applied.
	next := "spec_version + 1"
	if has("workspace_placements.observed_version") {
		next = "greatest(spec_version, coalesce(observed_version, 0)) + 1"
	}
	set := "spec_version = " + next
	if has("workspace_placements.spec") {
		// The platform writes the same number into both.
		set += ", spec = jsonb_set(spec, '{version}', to_jsonb(" + next + "))"
	}
	tag, err := conn.Exec(ctx, "UPDATE public.workspace_placements SET "+set+" WHERE desired_phase = 'running'")
	return tag.RowsAffected(), err
}

// restored is what a restore says besides its sentence.
type restored struct {
	// Unknown are the ids of workspaces that the database does not know, More how many do not fit.
	Unknown []string `json:"unknownWorkspaces,omitempty"`
	More    int      `json:"more,omitempty"`
}

// workspacesRoom is how much of a termination message ids may take.
const workspacesRoom = 3000

// RestoreMessage is what a restore leaves: a sentence and, on another line, the workspaces that the database does not
// know.
func RestoreMessage(sentence string, unknown []string) (string, error) {
	if len(unknown) == 0 {
		return sentence, nil
	}
	var r restored
	size := 0
	for i, id := range unknown {
		if size += len(id) + len(`"",`); size > workspacesRoom {
			r.More = len(unknown) - i
			break
		}
		r.Unknown = append(r.Unknown, id)
	}
	raw, err := json.Marshal(r)
	return sentence + "\n" + string(raw), err
}

// ReadRestoreMessage takes that apart. more is how many ids did not fit.
func ReadRestoreMessage(message string) (sentence string, unknown []string, more int) {
	sentence, rest, _ := strings.Cut(message, "\n")
	var r restored
	if json.Unmarshal([]byte(rest), &r) != nil {
		return message, nil, 0
	}
	return sentence, r.Unknown, r.More
}
