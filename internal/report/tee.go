package report

import "github.com/neutree-ai/packaging/internal/preflight"

// Tee tells all sinks, in their order.
func Tee(sinks ...preflight.Sink) preflight.Sink { return tee(sinks) }

type tee []preflight.Sink

func (t tee) Plan(checks []preflight.Check) {
	for _, sink := range t {
		sink.Plan(checks)
	}
}

func (t tee) Running(ids []string) {
	for _, sink := range t {
		sink.Running(ids)
	}
}

func (t tee) Result(result preflight.Result) {
	for _, sink := range t {
		sink.Result(result)
	}
}

func (t tee) End(summary preflight.Summary) {
	for _, sink := range t {
		sink.End(summary)
	}
}
