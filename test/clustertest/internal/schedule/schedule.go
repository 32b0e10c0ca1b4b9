// Package schedule spreads tests over clusters: the longest first, each to a cluster that suits it.
package schedule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/test/clustertest/internal/bed"
	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
)

// downLimit bounds how long a testbed is taken down after an interrupt.
const downLimit = 3 * time.Minute

// Beds brings clusters up and takes them down.
type Beds interface {
	Up(ctx context.Context, name string, shape bed.Shape) (*bed.Bed, error)
	Down(ctx context.Context, name string) error
}

// Watcher is told what happens. Its methods are called by several workers at once.
type Watcher interface {
	// Busy says what a worker does now, for how long it lasts.
	Busy(worker, what string)
	// Say is a line for people.
	Say(line string)
}

// Scheduler runs tests.
type Scheduler struct {
	Tests   []catalog.Test
	Workers int
	// InOrder runs them as they are listed.
	InOrder bool
	// Nodes is how many nodes a testbed has for tests that take any number.
	Nodes int
	Beds  Beds
	// Room says whether the machine has memory for one more testbed.
	Room func() bool
	// Run runs a test on a cluster, or without one, and says whether it passed.
	Run     func(ctx context.Context, worker string, on *bed.Bed, test catalog.Test) bool
	Watcher Watcher

	queue *queue
}

// Times are how long a worker did what.
type Times struct {
	Worker        string
	Tests         int
	Running, Beds time.Duration
	Idle          time.Duration
}

// Outcome is what is to be said besides the results of the tests.
type Outcome struct {
	Times []Times
	// NotRun are the tests that no cluster came up for, or that an interrupt left out.
	NotRun []catalog.Test
	// Errors are testbeds that are not taken down.
	Errors []error
}

// Do runs all tests. It returns when every testbed is down.
func (s *Scheduler) Do(ctx context.Context) Outcome {
	tests := slices.Clone(s.Tests)
	if !s.InOrder {
		slices.SortStableFunc(tests, func(a, b catalog.Test) int { return cmp.Compare(b.Cost, a.Cost) })
	}
	s.queue = newQueue(tests, s.Workers)
	defer context.AfterFunc(ctx, s.queue.stop)()
	began := time.Now()
	var (
		outcome Outcome
		mu      sync.Mutex
		group   sync.WaitGroup
	)
	for i := range s.Workers {
		group.Go(func() {
			w := &worker{Scheduler: s, number: i, times: Times{Worker: fmt.Sprintf("t%d", i+1)}}
			err := w.work(ctx)
			mu.Lock()
			defer mu.Unlock()
			outcome.Times = append(outcome.Times, w.times)
			if err != nil {
				outcome.Errors = append(outcome.Errors, err)
			}
		})
	}
	group.Wait()
	for i := range outcome.Times {
		times := &outcome.Times[i]
		times.Idle = time.Since(began) - times.Running - times.Beds
	}
	slices.SortFunc(outcome.Times, func(a, b Times) int { return cmp.Compare(a.Worker, b.Worker) })
	outcome.NotRun = s.queue.pending
	return outcome
}

// worker runs one test after the other, on a testbed of its own.
type worker struct {
	*Scheduler
	number int
	bed    *bed.Bed
	times  Times
}

func (w *worker) work(ctx context.Context) error {
	defer w.Watcher.Busy(w.times.Worker, "")
	for {
		next, test := w.queue.next(w.number, w.bed)
		switch next {
		case park:
			if err := w.down(ctx); err != nil {
				w.queue.leave(w.number)
				return err
			}
			continue
		case end:
			return w.down(ctx)
		}
		if err := w.provide(ctx, test.Needs); err != nil {
			w.queue.giveBack(w.number, test)
			if ctx.Err() == nil {
				w.explain(err)
			}
			return w.remove(ctx)
		}
		passed := w.run(ctx, test)
		if !test.Needs.None && (!passed || test.Needs.Breaks) {
			if err := w.down(ctx); err != nil {
				w.queue.leave(w.number)
				return err
			}
		}
	}
}

func (w *worker) run(ctx context.Context, test catalog.Test) bool {
	on := w.bed
	if test.Needs.None {
		on = nil
	}
	w.Watcher.Busy(w.times.Worker, test.Name)
	began := time.Now()
	passed := w.Run(ctx, w.times.Worker, on, test)
	w.times.Tests++
	w.times.Running += time.Since(began)
	w.Watcher.Busy(w.times.Worker, "")
	return passed
}

// provide brings up a testbed that suits a test, unless the one that is up does. One that does not come up is tried
// once more.
func (w *worker) provide(ctx context.Context, needs catalog.Needs) error {
	if needs.None || w.bed != nil && w.bed.Shape.Fits(needs) {
		return nil
	}
	if err := w.down(ctx); err != nil {
		return err
	}
	shape := bed.For(needs, w.Nodes)
	shape.Audit = shape.Audit || w.queue.needsAudit(shape)
	if w.number > 0 && !w.Room() {
		return bed.ErrNoRoom
	}
	began := time.Now()
	defer func() { w.times.Beds += time.Since(began) }()
	w.Watcher.Busy(w.times.Worker, "testbed up")
	defer w.Watcher.Busy(w.times.Worker, "")
	var err error
	if w.bed, err = w.Beds.Up(ctx, w.times.Worker, shape); err == nil || errors.Is(err, bed.ErrNoRoom) || ctx.Err() != nil {
		return err
	}
	w.Watcher.Say(fmt.Sprintf("testbed %s did not come up and is tried once more: %v", w.times.Worker, err))
	w.bed, err = w.Beds.Up(ctx, w.times.Worker, shape)
	return err
}

func (w *worker) explain(err error) {
	if errors.Is(err, bed.ErrNoRoom) {
		w.Watcher.Say(fmt.Sprintf("no memory for testbed %s: the others run its tests", w.times.Worker))
		return
	}
	w.Watcher.Say(fmt.Sprintf("testbed %s did not come up, the others run its tests: %v", w.times.Worker, err))
}

// down takes the testbed down, if there is one, also after an interrupt.
func (w *worker) down(ctx context.Context) error {
	if w.bed == nil {
		return nil
	}
	return w.remove(ctx)
}

// remove removes what there is of the testbed: one that came up halfway is there too.
func (w *worker) remove(ctx context.Context) error {
	began := time.Now()
	defer func() { w.times.Beds += time.Since(began) }()
	w.bed = nil
	w.Watcher.Busy(w.times.Worker, "testbed down")
	defer w.Watcher.Busy(w.times.Worker, "")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
	defer cancel()
	return w.Beds.Down(ctx, w.times.Worker)
}
