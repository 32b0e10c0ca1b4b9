package kube

import (
	"context"
	"sync"
	"sync/atomic"
)

// Workers is how many of many requests are under way at once. The API server's priority and fairness gives such clients
// some hundred at a time, which hooks share with every other ServiceAccount of the cluster.
const Workers = 32

// Many calls do with each number from 0 to n-1, up to Workers of them at once, and with a client that sends as many
// requests a second as the API server takes: it makes those wait that are too many. Once ctx has ended no more are
// called. Many returns how many were.
func (c *Client) Many(ctx context.Context, n int, do func(client *Client, i int)) int {
	unlimited := &Client{dynamic: c.dynamic, rest: c.unlimited, unlimited: c.unlimited}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, Workers) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				do(unlimited, i)
			}
		})
	}
	workers.Wait()
	return min(int(next.Load()), n)
}
