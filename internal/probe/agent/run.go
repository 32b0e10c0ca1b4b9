package agent

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// Run does all tasks at once and tells how each ended. What has not ended shortly before ctx does is
// reported as such.
func Run(ctx context.Context, tasks []Task) Report {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Second))
		defer cancel()
	}
	type ended struct {
		index  int
		result Result
	}
	done := make(chan ended, len(tasks))
	for i, task := range tasks {
		go func() { done <- ended{i, do(ctx, task)} }()
	}
	report := Report{Results: make([]Result, len(tasks))}
	for i, task := range tasks {
		report.Results[i] = Result{ID: task.ID, Error: "it did not end in time"}
	}
	// File systems can hang where no context reaches.
	grace := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(500*time.Millisecond, func() { close(grace) }) })
	defer stop()
	for range tasks {
		select {
		case e := <-done:
			report.Results[e.index] = e.result
		case <-grace:
			return report
		}
	}
	return report
}

func do(ctx context.Context, task Task) (result Result) {
	facts := Facts{}
	result.ID = task.ID
	defer func() {
		if cause := recover(); cause != nil {
			result.Error = fmt.Sprintf("the probe broke: %v", cause)
		}
		result.Facts = maps.Clone(facts)
	}()
	for _, job := range task.jobs() {
		if err := job.run(ctx, facts); err != nil {
			result.Error = err.Error()
		}
	}
	return result
}

// seconds is n seconds, or otherwise if n is not positive.
func seconds(n int, otherwise time.Duration) time.Duration {
	if n <= 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// pause waits, but no longer than ctx lives.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
