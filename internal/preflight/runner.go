package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/plain"
)

const (
	readers      = 8
	podStarters  = 24
	readTimeout  = time.Minute
	podTimeout   = 3 * time.Minute
	pauseOnWait  = 2 * time.Second
	shortTimeOut = "it took longer than %s"
)

// Run runs the checks side by side and tells sink of each as soon as those before it are through.
func Run(ctx context.Context, subject *Subject, checks []Check, sink Sink) Summary {
	r := &run{subject: subject, sink: sink, start: time.Now(), results: make([]*Result, len(checks)), checks: checks}
	sink.Plan(checks)
	read, pods := make(chan struct{}, readers), make(chan struct{}, podStarters)
	var all sync.WaitGroup
	for i, check := range checks {
		if reason := r.skip(check); reason != "" {
			r.end(i, Result{Status: Skipped, Reason: reason})
			continue
		}
		slots := read
		if check.Needs.Has(Pods) {
			slots = pods
		}
		all.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
			}
			r.end(i, r.check(ctx, check))
		})
	}
	all.Wait()
	r.summary.TimedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
	r.summary.Interrupted = errors.Is(ctx.Err(), context.Canceled)
	r.summary.Duration = time.Since(r.start)
	sink.End(r.summary)
	return r.summary
}

type run struct {
	subject *Subject
	sink    Sink
	start   time.Time
	checks  []Check

	mu      sync.Mutex
	results []*Result
	told    int
	running []string
	summary Summary
}

// skip is the reason why a check does not run, or nothing.
func (r *run) skip(check Check) string {
	options := r.subject.Options
	switch {
	case check.Needs.Has(Pods) && options.NoPods:
		return "it starts pods, and --no-pods is set"
	case check.Needs.Has(Cluster) && r.subject.Cluster == nil:
		return "there is no cluster"
	}
	if check.Applies != nil {
		if applies, reason := check.Applies(r.subject); !applies {
			return reason
		}
	}
	if check.Needs.Has(OptIn) && !names(options.With, check) && !names(options.Only, check) {
		return fmt.Sprintf("it costs money: ask for it with --with=%s", check.ID)
	}
	return ""
}

// names says whether the check or its topic is in a list of both.
func names(list []string, check Check) bool {
	return slices.Contains(list, check.ID) || slices.Contains(list, check.Topic())
}

// Select leaves the checks that the options ask for. A name that no check has is an error.
func Select(checks []Check, options Options) ([]Check, error) {
	for _, name := range slices.Concat(options.Only, options.Skip, options.With) {
		if !slices.ContainsFunc(checks, func(c Check) bool { return c.ID == name || c.Topic() == name }) {
			return nil, fmt.Errorf("there is no check and no topic %q: `helm neutree preflight --list` shows all", name)
		}
	}
	var selected []Check
	for _, check := range checks {
		if (len(options.Only) == 0 || names(options.Only, check)) && !names(options.Skip, check) {
			selected = append(selected, check)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("--only and --skip leave no check: drop one of them")
	}
	return selected, nil
}

// check runs one until it passes or its time is up.
func (r *run) check(ctx context.Context, check Check) Result {
	r.change(func() { r.running = append(r.running, check.ID) })
	defer r.change(func() {
		r.running = slices.DeleteFunc(r.running, func(id string) bool { return id == check.ID })
	})
	start := time.Now()
	until := start.Add(r.subject.Options.Wait)
	for attempt := 1; ; attempt++ {
		result := r.attempt(ctx, check)
		result.Duration, result.Attempts = time.Since(start), attempt
		again := result.Status == Failed || result.Status == Unproved
		if !again || ctx.Err() != nil || time.Now().Add(pauseOnWait).After(until) {
			return result
		}
		select {
		case <-ctx.Done():
			return result
		case <-time.After(pauseOnWait):
		}
		if r.subject.Cluster != nil {
			r.subject.Cluster.Forget()
		}
	}
}

func (r *run) attempt(ctx context.Context, check Check) Result {
	if ctx.Err() != nil {
		return Result{Status: Unproved, Reason: "it was not reached: " + why(ctx)}
	}
	timeout := r.subject.Options.CheckTimeout
	if timeout == 0 {
		timeout = readTimeout
		if check.Needs.Has(Pods) {
			timeout = podTimeout
		}
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	findings, err := check.Run(bounded, r.subject)
	if err != nil {
		reason := strings.Join(strings.Fields(err.Error()), " ")
		switch {
		case ctx.Err() != nil:
			reason = "it was cut off: " + why(ctx)
		case bounded.Err() != nil:
			reason = fmt.Sprintf(shortTimeOut+": %s", timeout, reason)
		}
		return Result{Status: Unproved, Reason: reason, Findings: complete(findings, check)}
	}
	findings = complete(findings, check)
	return Result{Status: worst(findings), Findings: findings}
}

func why(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.Canceled) {
		return "interrupted"
	}
	return "the time for all checks is up (--timeout)"
}

// complete gives findings the ID and severity of their check where they have none, and puts the heaviest first.
func complete(findings []Finding, check Check) []Finding {
	completed := slices.Clone(findings)
	for i := range completed {
		if completed[i].Severity == Unset {
			completed[i].Severity = check.Severity
		}
		if completed[i].ID == "" {
			completed[i].ID = finding.ID(check.ID)
		}
	}
	slices.SortStableFunc(completed, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
	return completed
}

func worst(findings []Finding) Status {
	status := Passed
	for _, f := range findings {
		switch f.Severity {
		case Error:
			return Failed
		case Warning:
			status = Warned
		}
	}
	return status
}

func (r *run) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
	r.sink.Running(slices.Clone(r.running))
}

// end keeps a result and tells all that are next in the order of the plan.
func (r *run) end(i int, result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	result.ID, result.Title = r.checks[i].ID, r.checks[i].Title
	// Secrets are taken out first, since cleaning changes the characters of one.
	clean := plain.Text
	if hide := r.subject.Hide; hide != nil {
		clean = func(text string) string { return plain.Text(hide(text)) }
	}
	result.Reason = clean(result.Reason)
	for j := range result.Findings {
		for _, text := range result.Findings[j].Texts() {
			*text = clean(*text)
		}
	}
	r.results[i] = &result
	for r.told < len(r.results) && r.results[r.told] != nil {
		next := *r.results[r.told]
		r.summary.count(next.Status)
		r.sink.Result(next)
		r.told++
	}
}
