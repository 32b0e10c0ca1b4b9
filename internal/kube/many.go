package kube

import (
	"context"
	"sync"
)

// Workers is how many of many requests are under way at once. The API server's priority and fairness gives such clients
// some hundred at a time, which hooks share with every other ServiceAccount of the cluster.
const Workers = 32

// Many calls do with everything that produce adds, up to Workers at once, while produce is still at work. do gets a
// client that sends as many requests a second as the API server takes: it makes those wait that are too many. Once ctx
// has ended do is not called any more. Many returns how many were not done.
func Many[T any](ctx context.Context, c *Client, produce func(add func(T)), do func(*Client, T)) (left int) {
	unlimited := &Client{dynamic: c.dynamic, rest: c.unlimited, unlimited: c.unlimited}
	var (
		mu      sync.Mutex
		waiting []T
		ended   bool
		workers sync.WaitGroup
	)
	changed := sync.NewCond(&mu)
	take := func() (one T, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		for len(waiting) == 0 && !ended {
			changed.Wait()
		}
		if len(waiting) == 0 || ctx.Err() != nil {
			return one, false
		}
		one, waiting = waiting[0], waiting[1:]
		return one, true
	}
	for range Workers {
		workers.Go(func() {
			for one, ok := take(); ok; one, ok = take() {
				do(unlimited, one)
			}
		})
	}
	produce(func(one T) {
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, one)
		changed.Signal()
	})
	mu.Lock()
	ended = true
	changed.Broadcast()
	mu.Unlock()
	workers.Wait()
	return len(waiting)
}
