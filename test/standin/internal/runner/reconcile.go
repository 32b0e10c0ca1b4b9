package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// placement is what the control plane wants of one workspace.
type placement struct {
	ID          string
	AgentType   string
	AutoScaling bool
	StorageSize string
	Desired     string
	Generation  int64
	// Observed is the generation that was applied last.
	Observed int64
}

const selectPlacements = `
SELECT w.id, w.agent_type, w.auto_scaling, coalesce(w.storage_size, ''), p.desired_state, p.generation, p.observed_generation
FROM public.workspace_placements p JOIN public.workspaces w ON w.id = p.workspace_id
WHERE p.environment_id = $1 ORDER BY w.created_at`

// round gives a sign of life and brings every workspace one step nearer to what is wanted.
func (r *runner) round(ctx context.Context) error {
	tag, err := r.pool.Exec(ctx, `UPDATE public.environments SET last_heartbeat_at = now(), settings = $2 WHERE id = $1`, workspace.Environment, r.Coupled)
	if err != nil {
		return fmt.Errorf("give a sign of life: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("environment %s is not in the database: was it migrated?", workspace.Environment)
	}
	rows, err := r.pool.Query(ctx, selectPlacements, workspace.Environment)
	if err != nil {
		return fmt.Errorf("read the placements: %w", err)
	}
	placements, err := pgx.CollectRows(rows, pgx.RowToStructByPos[placement])
	if err != nil {
		return fmt.Errorf("read the placements: %w", err)
	}
	if err := r.observe(ctx); err != nil {
		return err
	}
	var failed []error
	for _, p := range placements {
		err := r.reconcile(ctx, p)
		if err != nil {
			failed = append(failed, fmt.Errorf("workspace %s: %w", p.ID, err))
		}
		if err := r.record(ctx, p, err); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// observe reads what there is of all workspaces, as the real runner reports it to the control plane. There may be tens
// of thousands, more than memory holds at a time.
func (r *runner) observe(ctx context.Context) error {
	lists := map[string]pager.ListPageFunc{
		"deployments": func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return r.kube.AppsV1().Deployments(r.Namespace).List(ctx, options)
		},
		"pods": func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return r.kube.CoreV1().Pods(r.Namespace).List(ctx, options)
		},
		"services": func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return r.kube.CoreV1().Services(r.Namespace).List(ctx, options)
		},
	}
	if r.contract.StatefulSets {
		lists["statefulsets"] = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return r.kube.AppsV1().StatefulSets(r.Namespace).List(ctx, options)
		}
	}
	for kind, list := range lists {
		number, pages := 0, pager.New(list)
		pages.PageSize, pages.PageBufferSize = 100, 0
		err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: workspace.Selector}, func(runtime.Object) error {
			number++
			return nil
		})
		if err != nil {
			return fmt.Errorf("observe the workspaces: %w", err)
		}
		r.log.Debug("observed", "kind", kind, "number", number)
	}
	return nil
}

func (r *runner) reconcile(ctx context.Context, p placement) error {
	switch p.Desired {
	case workspace.Running:
		if p.Observed >= p.Generation {
			return r.ensureServices(ctx, p)
		}
		return r.apply(ctx, p)
	case workspace.Stopped:
		if p.Observed >= p.Generation {
			return nil
		}
		return r.stop(ctx, p)
	case workspace.Destroyed:
		return r.destroy(ctx, p)
	}
	return fmt.Errorf("desired state %q is unknown", p.Desired)
}

// record writes down what came of a workspace. A destroyed one is forgotten.
func (r *runner) record(ctx context.Context, p placement, failure error) error {
	var err error
	switch {
	case failure != nil:
		_, err = r.pool.Exec(ctx, `UPDATE public.workspace_placements SET message = $2, updated_at = now() WHERE workspace_id = $1`, p.ID, failure.Error())
	case p.Desired == workspace.Destroyed:
		_, err = r.pool.Exec(ctx, `DELETE FROM public.workspaces WHERE id = $1`, p.ID)
	case p.Observed < p.Generation:
		_, err = r.pool.Exec(ctx, `UPDATE public.workspace_placements SET observed_generation = $2, message = NULL, updated_at = now() WHERE workspace_id = $1`, p.ID, p.Generation)
	}
	if err != nil {
		return fmt.Errorf("record workspace %s: %w", p.ID, err)
	}
	return nil
}
