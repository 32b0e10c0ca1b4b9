package kube

import (
	"context"

	"k8s.io/client-go/util/flowcontrol"
)

// patient has requests wait for their turn until their context ends. The limiter itself refuses one whose turn comes after
// its deadline at once, with an error that callers take for one of the cluster's.
type patient struct{ flowcontrol.RateLimiter }

// Wait implements flowcontrol.RateLimiter.
func (p patient) Wait(ctx context.Context) error {
	turn, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	err := p.RateLimiter.Wait(turn)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
