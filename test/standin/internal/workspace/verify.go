package workspace

import (
	"context"
	"fmt"
	"net/http"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
)

// Identity is what something in a workspace proves itself to the control plane with.
type Identity struct {
	Contract generation.Contract
	ID       string
	// Token is empty where the contract knows none.
	Token string
}

// ReadIdentity reads it from the environment that the env runner gives.
func ReadIdentity(env *config.Env) Identity {
	who := Identity{Contract: generation.Read(env), ID: env.Required("WORKSPACE_ID")}
	if who.Contract.Tokens {
		who.Token = env.Secret(TokenKey)
	}
	return who
}

// Verify asks the control plane for something of the workspace, as everything in a workspace does when it starts.
func (i Identity) Verify(ctx context.Context, controlPlane, what string) error {
	var answer struct{ WorkspaceID string }
	var header http.Header
	if i.Contract.Tokens {
		header = httpserver.Bearer(i.Token)
	}
	if err := httpserver.Get(ctx, controlPlane+i.Contract.Workspaces(i.ID)+what, header, &answer); err != nil {
		return fmt.Errorf("fetch the workspace's %s: %w", what, err)
	}
	if answer.WorkspaceID != i.ID {
		return fmt.Errorf("fetch the workspace's %s: the token is that of workspace %s, not %s", what, answer.WorkspaceID, i.ID)
	}
	return nil
}
