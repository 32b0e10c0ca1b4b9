package workspace

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
)

// Verify asks the control plane for something of a workspace with the workspace's token, as everything in
// a workspace does when it starts.
func Verify(ctx context.Context, controlPlane, what, id, token string) error {
	var answer struct{ WorkspaceID string }
	url := controlPlane + "/workspace/v1/" + what
	if err := httpserver.Get(ctx, url, httpserver.Bearer(token), &answer); err != nil {
		return fmt.Errorf("fetch the workspace's %s: %w", what, err)
	}
	if answer.WorkspaceID != id {
		return fmt.Errorf("fetch the workspace's %s: the token is that of workspace %s, not %s", what, answer.WorkspaceID, id)
	}
	return nil
}
