package images

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// each does do for each of list, as many at a time as jobs says. What a person has to fix does not end the others: it is
// reported at the end, all of it. Any other error ends them.
func each[T any](ctx context.Context, jobs int, list []T, do func(ctx context.Context, i int, one T) error) error {
	found := make([]finding.List, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, jobs))
	for i, one := range list {
		group.Go(func() error {
			err := do(ctx, i, one)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if found[i] = finding.Of(err); found[i] != nil {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if all := slices.Concat(found...); len(all) > 0 {
		return hook.Refuse(all...)
	}
	return nil
}
