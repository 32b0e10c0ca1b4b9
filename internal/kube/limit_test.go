package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

func TestARequestWaitsForItsTurnUntilItsContextEnds(t *testing.T) {
	limiter := patient{flowcontrol.NewTokenBucketRateLimiter(0.001, 1)}
	if err := limiter.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := limiter.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil {
		t.Errorf("before the deadline it ends with: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := limiter.Wait(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("after it was cancelled it ends with: %v", err)
	}
}
