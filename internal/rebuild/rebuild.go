// Package rebuild has the control plane rebuild the workspaces whose pods an older version of the platform started.
package rebuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// reserve is kept back from the command's time, to say what was not done.
const reserve = 10 * time.Second

// tokenHeader carries the control plane's PLUGIN_ADMIN_TOKEN.
const tokenHeader = "X-Plugin-Admin-Token"

// Rebuild runs after an upgrade.
type Rebuild struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.RebuildSpec
	// Token is the control plane's PLUGIN_ADMIN_TOKEN.
	Token string
}

// Run rebuilds the workspaces and returns one sentence on that. The upgrade is complete by then, so whatever fails is a
// warning.
func (r *Rebuild) Run(ctx context.Context) (string, error) {
	working, cancel := ctx, context.CancelFunc(func() {})
	if deadline, has := ctx.Deadline(); has {
		working, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
	}
	defer cancel()
	result, err := r.rebuild(working)
	if err != nil {
		result = "the upgrade is complete, but running workspaces were not rebuilt"
		r.Log.Warn(result+": rebuild them in the web interface, or upgrade again with the same values", "cause",
			err.Error())
		return result, nil
	}
	r.Log.Info(result)
	return result, nil
}

func (r *Rebuild) rebuild(ctx context.Context) (string, error) {
	for _, name := range r.Spec.Deployments {
		if err := r.rolledOut(ctx, name); err != nil {
			return "", err
		}
	}
	// The control plane restarts what is up to date as well, so it is only asked to where something is not.
	stale, err := r.sweep(ctx, true)
	if err != nil {
		return "", err
	}
	r.warn(stale)
	if len(stale.Rebuilt) == 0 {
		return fmt.Sprintf("no workspace has to be rebuilt: %d are up to date, %d are stopped and %d are at work",
			stale.InSync, stale.StoppedSkipped, len(stale.Skipped)), nil
	}
	r.Log.Info("rebuilding workspaces", "number", len(stale.Rebuilt))
	done, err := r.sweep(ctx, false)
	if err != nil {
		return "", err
	}
	r.warn(done)
	if len(done.Skipped) > 0 {
		r.Log.Warn("workspaces that are at work were left out: rebuild them later, in the web interface",
			"number", len(done.Skipped), "workspaces", some(done.Skipped))
	}
	return fmt.Sprintf("%d workspaces are rebuilt and %d restarted; %d that are stopped and %d that are at work were left "+
		"out", len(done.Rebuilt), len(done.Restarted), done.StoppedSkipped, len(done.Skipped)), nil
}

// warn says which workspaces failed.
func (r *Rebuild) warn(s sweep) {
	if len(s.Failed) == 0 {
		return
	}
	var ids []string
	for _, failed := range s.Failed {
		ids = append(ids, failed.Workspace)
	}
	r.Log.Warn("workspaces could not be rebuilt: rebuild them in the web interface", "number", len(ids),
		"workspaces", some(ids), "cause", s.Failed[0].Error)
}

// some are as many of the names as fit into a line.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], " "), len(names)-most)
}

// rolledOut waits until every pod of a Deployment is of its newest version: the old control plane would compare with the
// old images.
func (r *Rebuild) rolledOut(ctx context.Context, name string) error {
	return hook.Poll(ctx, r.Log, "the rollout of Deployment "+name, func(ctx context.Context) (bool, string, error) {
		live, err := kube.Get[appsv1.Deployment](ctx, r.Client, kube.Deployments, r.Spec.Namespace, name)
		if err != nil {
			if kube.Permanent(err) {
				return false, "", fmt.Errorf("read Deployment %s in namespace %s: %w", name, r.Spec.Namespace, err)
			}
			return false, kube.Brief(err), nil
		}
		want, is := ptr.Deref(live.Spec.Replicas, 1), live.Status
		done := is.ObservedGeneration >= live.Generation && is.UpdatedReplicas == want && is.Replicas == want &&
			is.AvailableReplicas == want
		return done, fmt.Sprintf("%d of %d pods are of the new version and available", min(is.UpdatedReplicas,
			is.AvailableReplicas), want), nil
	})
}

// sweep is what the control plane says that it did, or would do in a dry run.
type sweep struct {
	StoppedSkipped int      `json:"stoppedSkipped"`
	Rebuilt        []string `json:"rebuilt"`
	Restarted      []string `json:"restarted"`
	InSync         int      `json:"inSync"`
	// Skipped are at work.
	Skipped []string `json:"skipped"`
	Failed  []struct {
		Workspace string `json:"workspaceId"`
		Error     string `json:"error"`
	} `json:"failed"`
}

// sweep asks the control plane, again while it does not answer.
func (r *Rebuild) sweep(ctx context.Context, dryRun bool) (sweep, error) {
	var result sweep
	err := hook.Poll(ctx, r.Log, "the control plane to answer", func(ctx context.Context) (bool, string, error) {
		status, body, err := r.post(ctx, dryRun)
		switch {
		case err != nil && ctx.Err() != nil && !dryRun:
			return false, "", errors.New("the control plane has not finished in time, and continues")
		case err != nil && dryRun:
			return false, err.Error(), nil
		case err != nil:
			return false, "", err
		case status == http.StatusOK, status == http.StatusMultiStatus:
			if err := json.Unmarshal(body, &result); err != nil {
				return false, "", fmt.Errorf("the control plane's answer is not understood: %w", err)
			}
			return true, "", nil
		case status >= http.StatusInternalServerError && dryRun:
			return false, fmt.Sprintf("it answers with %d", status), nil
		case status == http.StatusNotFound:
			return false, "", errors.New("this version of the control plane has no call for it (404)")
		case status == http.StatusUnauthorized, status == http.StatusForbidden, status/100 == 3:
			return false, "", fmt.Errorf("the control plane refuses PLUGIN_ADMIN_TOKEN (%d): remove the variable from "+
				"controlPlane.cp.extraEnv, if it is there", status)
		}
		return false, "", fmt.Errorf("the control plane answers with %d", status)
	})
	return result, err
}

func (r *Rebuild) post(ctx context.Context, dryRun bool) (int, []byte, error) {
	body, err := json.Marshal(map[string]bool{"dryRun": dryRun})
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Spec.URL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, hook.Errorf(hook.Usage, "%s is no address: %w", r.Spec.URL, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(tokenHeader, r.Token)
	// No proxy: it is a service of the same cluster. A redirect leads to the page where people log in.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return 0, nil, fmt.Errorf("it does not answer: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	return response.StatusCode, answer, err
}
