package schedule

import (
	"slices"
	"sync"

	"github.com/neutree-ai/packaging/test/clustertest/internal/bed"
	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
)

// What a worker does next.
type step int

const (
	// run the test that comes with it.
	run step = iota
	// park: take the testbed down and ask again.
	park
	// end: nothing will come any more.
	end
)

// What a worker is doing.
type state int

const (
	// active has a test, or has yet to ask for its first one.
	active state = iota
	// idle waits for a test.
	idle
	gone
)

// queue hands out tests. A test that is given back goes to another worker, so no worker ends before nothing can be given
// back any more.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	pending []catalog.Test
	workers []state
	stopped bool
}

func newQueue(tests []catalog.Test, workers int) *queue {
	q := &queue{pending: slices.Clone(tests), workers: make([]state, workers)}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// stop lets every worker end.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.changed.Broadcast()
}

// next says what a worker does next that has this testbed, or none.
func (q *queue) next(worker int, has *bed.Bed) (step, catalog.Test) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.workers[worker] = idle
	q.changed.Broadcast()
	for {
		if q.stopped {
			q.workers[worker] = gone
			return end, catalog.Test{}
		}
		if i := q.pick(has); i >= 0 {
			return run, q.take(worker, i)
		}
		if !q.othersRun(worker) {
			q.workers[worker] = gone
			q.changed.Broadcast()
			return end, catalog.Test{}
		}
		// A testbed without a test still takes time from the others.
		if has != nil {
			return park, catalog.Test{}
		}
		q.changed.Wait()
	}
}

// pick is the first test that is left, one for which the testbed need not be replaced if there is any.
func (q *queue) pick(has *bed.Bed) int {
	fits := slices.IndexFunc(q.pending, func(test catalog.Test) bool {
		return has == nil || has.Shape.Fits(test.Needs)
	})
	if fits < 0 && len(q.pending) > 0 {
		return 0
	}
	return fits
}

func (q *queue) take(worker, i int) catalog.Test {
	test := q.pending[i]
	q.pending = slices.Delete(q.pending, i, i+1)
	q.workers[worker] = active
	return test
}

// giveBack returns a test that a worker has no testbed for; that worker is gone.
func (q *queue) giveBack(worker int, test catalog.Test) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = slices.Insert(q.pending, 0, test)
	q.workers[worker] = gone
	q.changed.Broadcast()
}

// othersRun says whether another worker has a test, which it may yet give back.
func (q *queue) othersRun(worker int) bool {
	for i, state := range q.workers {
		if i != worker && state == active {
			return true
		}
	}
	return false
}

// needsAudit says whether a test that has yet to run could use a testbed of this shape if it kept an audit log.
func (q *queue) needsAudit(shape bed.Shape) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	shape.Audit = true
	return slices.ContainsFunc(q.pending, func(test catalog.Test) bool {
		return test.Needs.Audit && !test.Needs.None && shape.Fits(test.Needs)
	})
}

// leave says that a worker is gone.
func (q *queue) leave(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.workers[worker] = gone
	q.changed.Broadcast()
}
