package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// workspaceRow is a workspace as the database holds it.
type workspaceRow struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	AgentType   string    `json:"agentType"`
	AutoScaling bool      `json:"autoScaling"`
	Desired     string    `json:"desiredState"`
	Message     string    `json:"runnerMessage,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
}

const selectWorkspaces = `
SELECT w.id, w.name, w.agent_type, w.auto_scaling, p.desired_state, coalesce(p.message, ''), w.created_at
FROM public.workspaces w JOIN public.workspace_placements p ON p.workspace_id = w.id
WHERE p.desired_state <> 'destroyed'`

type newWorkspace struct {
	Name        string `json:"name"`
	AgentType   string `json:"agentType"`
	AutoScaling bool   `json:"autoScaling"`
	StorageSize string `json:"storageSize"`
}

func (n newWorkspace) check(multiReplica bool) error {
	switch {
	case strings.TrimSpace(n.Name) == "":
		return errors.New("name is needed")
	case !slices.Contains(platform.AgentTypes, n.AgentType):
		return fmt.Errorf("agentType must be one of %s", strings.Join(platform.AgentTypes, ", "))
	case n.AutoScaling && !multiReplica:
		return errors.New("workspaces with several replicas are off (WORKSPACE_MULTI_REPLICA)")
	}
	if n.StorageSize == "" {
		return nil
	}
	if _, err := resource.ParseQuantity(n.StorageSize); err != nil {
		return errors.New("storageSize is no amount of storage such as 10Gi")
	}
	return nil
}

func (s *server) createWorkspace(w http.ResponseWriter, r *http.Request, user session.User) {
	var wanted newWorkspace
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&wanted); err != nil {
		httpserver.Error(w, http.StatusBadRequest, "the body is not JSON")
		return
	}
	if err := wanted.check(s.workspaces.MultiReplica); err != nil {
		httpserver.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := bound(r)
	defer cancel()
	row := workspaceRow{ID: session.NewID(), Name: wanted.Name, AgentType: wanted.AgentType, AutoScaling: wanted.AutoScaling, Desired: workspace.Running}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO public.workspaces (id, owner_id, name, agent_type, auto_scaling, storage_size) VALUES ($1, $2, $3, $4, $5, nullif($6, '')) RETURNING created_at`,
			row.ID, user.ID, row.Name, row.AgentType, row.AutoScaling, wanted.StorageSize).Scan(&row.CreatedAt)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO public.workspace_placements (workspace_id, environment_id, desired_state) VALUES ($1, $2, $3)`, row.ID, workspace.Environment, row.Desired)
		return err
	})
	if err != nil {
		s.fail(w, "create the workspace", err)
		return
	}
	httpserver.JSON(w, http.StatusCreated, row)
}

func (s *server) listWorkspaces(w http.ResponseWriter, r *http.Request, _ session.User) {
	ctx, cancel := bound(r)
	defer cancel()
	rows, err := s.pool.Query(ctx, selectWorkspaces+` ORDER BY w.created_at`)
	if err != nil {
		s.fail(w, "list workspaces", err)
		return
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[workspaceRow])
	if err != nil {
		s.fail(w, "list workspaces", err)
		return
	}
	httpserver.JSON(w, http.StatusOK, list)
}

func (s *server) getWorkspace(w http.ResponseWriter, r *http.Request, _ session.User) {
	row, found := s.find(w, r)
	if !found {
		return
	}
	ctx, cancel := bound(r)
	defer cancel()
	observed, err := s.observe(ctx, row)
	if err != nil {
		s.fail(w, "read the workspace's objects in namespace "+s.workspaces.Namespace, err)
		return
	}
	httpserver.JSON(w, http.StatusOK, struct {
		workspaceRow
		observation
	}{row, observed})
}

func (s *server) stopWorkspace(w http.ResponseWriter, r *http.Request, _ session.User) {
	s.want(w, r, workspace.Stopped)
}

func (s *server) startWorkspace(w http.ResponseWriter, r *http.Request, _ session.User) {
	s.want(w, r, workspace.Running)
}

// deleteWorkspace writes down that the workspace is to go before it deletes its objects, so that the
// runner does not make them anew.
func (s *server) deleteWorkspace(w http.ResponseWriter, r *http.Request, _ session.User) {
	row, found := s.find(w, r)
	if !found {
		return
	}
	ctx, cancel := bound(r)
	defer cancel()
	if err := s.setDesired(r, row.ID, workspace.Destroyed); err != nil {
		s.fail(w, "delete the workspace", err)
		return
	}
	if err := s.deleteObjects(ctx, row.ID); err != nil {
		s.fail(w, "delete the workspace's objects in namespace "+s.workspaces.Namespace, err)
		return
	}
	httpserver.JSON(w, http.StatusOK, map[string]bool{"ok": true})
}

func (s *server) want(w http.ResponseWriter, r *http.Request, desired string) {
	row, found := s.find(w, r)
	if !found {
		return
	}
	if err := s.setDesired(r, row.ID, desired); err != nil {
		s.fail(w, "change the workspace", err)
		return
	}
	row.Desired = desired
	httpserver.JSON(w, http.StatusOK, row)
}

func (s *server) setDesired(r *http.Request, id, desired string) error {
	ctx, cancel := bound(r)
	defer cancel()
	_, err := s.pool.Exec(ctx, `UPDATE public.workspace_placements SET desired_state = $2, generation = generation + 1, updated_at = now() WHERE workspace_id = $1 AND desired_state <> $2`, id, desired)
	return err
}

func (s *server) find(w http.ResponseWriter, r *http.Request) (workspaceRow, bool) {
	ctx, cancel := bound(r)
	defer cancel()
	rows, err := s.pool.Query(ctx, selectWorkspaces+` AND w.id = $1`, r.PathValue("id"))
	if err != nil {
		s.fail(w, "find the workspace", err)
		return workspaceRow{}, false
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[workspaceRow])
	if errors.Is(err, pgx.ErrNoRows) {
		httpserver.Error(w, http.StatusNotFound, "no such workspace")
		return workspaceRow{}, false
	}
	if err != nil {
		s.fail(w, "find the workspace", err)
		return workspaceRow{}, false
	}
	return row, true
}
