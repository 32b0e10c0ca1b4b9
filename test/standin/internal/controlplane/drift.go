package controlplane

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/network"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// heartbeatLimit is how old the runner's last sign of life may be.
const heartbeatLimit = time.Minute

// difference is a setting that control plane and runner were given differently.
type difference struct {
	Name         string `json:"name"`
	ControlPlane string `json:"controlPlane"`
	Runner       string `json:"runner"`
}

// drift compares what the runner wrote down at its start with the control plane's own environment. The
// real service shows the same mistake as workspaces that stay stale for ever.
func (s *server) drift(w http.ResponseWriter, r *http.Request, _ session.User) {
	ctx, cancel := bound(r)
	defer cancel()
	var seen *time.Time
	var runner map[string]string
	err := s.pool.QueryRow(ctx, `SELECT last_heartbeat_at, coalesce(settings, '{}') FROM public.environments WHERE id = $1`, workspace.Environment).Scan(&seen, &runner)
	if err != nil {
		s.fail(w, "read the runner's environment", err)
		return
	}
	online := seen != nil && time.Since(*seen) < heartbeatLimit
	differences := compare(s.workspaces.Coupled, runner)
	httpserver.JSON(w, http.StatusOK, map[string]any{
		"runnerOnline": online, "lastHeartbeatAt": seen,
		"inSync": online && len(differences) == 0, "differences": differences,
	})
}

func compare(own, runner map[string]string) []difference {
	differences := []difference{}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if own[name] != runner[name] {
			differences = append(differences, difference{Name: name, ControlPlane: own[name], Runner: runner[name]})
		}
	}
	return differences
}

// dependencies says of the database whether it has enough connections for everybody, and of each service
// that the control plane calls whether it answers.
func (s *server) dependencies(w http.ResponseWriter, r *http.Request, _ session.User) {
	ctx, cancel := bound(r)
	defer cancel()
	result := map[string]string{
		"database":               state(postgres.CheckCapacity(ctx, s.pool)),
		"channel-gateway":        state(httpserver.Get(ctx, s.gateway.String()+"/health", nil, nil)),
		"skills-content-service": state(httpserver.Get(ctx, s.skillsURL+"/api/skills", nil, nil)),
		"afs-controller":         state(network.Reach(ctx, s.workspaces.AFSController, 2*time.Second)),
	}
	if s.officeURL != "" {
		result["office-converter"] = state(httpserver.Get(ctx, s.officeURL+"/health", nil, nil))
	}
	status := http.StatusOK
	for _, text := range result {
		if text != "ok" {
			status = http.StatusBadGateway
		}
	}
	httpserver.JSON(w, status, result)
}

func state(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}
