package controlplane

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

// serviceAPI answers other services of the platform, who prove themselves by a key that all of them know.
func (s *server) serviceAPI(w http.ResponseWriter, r *http.Request) {
	given := r.Header.Get("X-Platform-Service-Key")
	if subtle.ConstantTimeCompare([]byte(given), []byte(s.serviceKey)) != 1 {
		httpserver.Error(w, http.StatusUnauthorized, "X-Platform-Service-Key is not the control plane's PLATFORM_SERVICE_KEY")
		return
	}
	httpserver.JSON(w, http.StatusOK, map[string]bool{"ok": true})
}

// workspaceAPI answers a workspace, who proves itself by the token that the runner minted for it.
func (s *server) workspaceAPI(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := bound(r)
	defer cancel()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	var id string
	err := s.pool.QueryRow(ctx, `SELECT workspace_id FROM public.workspace_tokens WHERE token_hash = $1`, session.TokenHash(token)).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		httpserver.Error(w, http.StatusUnauthorized, "the bearer token belongs to no workspace")
	case err != nil:
		s.fail(w, "workspace token", err)
	default:
		httpserver.JSON(w, http.StatusOK, map[string]any{"workspaceId": id, "items": []string{}})
	}
}

// trustingWorkspaceAPI answers every caller that names an existing workspace.
func (s *server) trustingWorkspaceAPI(w http.ResponseWriter, r *http.Request) {
	row, found := s.find(w, r)
	if found {
		httpserver.JSON(w, http.StatusOK, map[string]any{"workspaceId": row.ID, "items": []string{}})
	}
}
