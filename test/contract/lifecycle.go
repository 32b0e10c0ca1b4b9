package contract

import "time"

// Lifecycle is how long the kubelet must leave a workload's container alone when it starts, when it is silent, and when
// it ends. Less does harm; much more only makes a person wait.
type Lifecycle struct {
	// Start is how long a start may take. It is 0 for what listens as soon as its process runs.
	Start time.Duration
	// Restart is when a start that will not succeed must have ended, 0 for one that ends by itself.
	Restart time.Duration
	// Silence is how long a running container may answer nothing before it is restarted. It is 0 for what has no port,
	// which nobody can ask.
	Silence time.Duration
	// Drain is how long it goes on answering after the kubelet was told to end it: until every node sends to its
	// successor.
	Drain time.Duration
	// Stop is how long it takes to end in good order once it is told to.
	Stop time.Duration
}

// Grace is the terminationGracePeriodSeconds that a pod needs: a preStop hook counts towards it.
func (l Lifecycle) Grace() time.Duration { return l.Drain + l.Stop }

const (
	// A busy event loop, or a node that is short of CPU, answers nothing for tens of seconds. A restart would end every
	// stream that users have open, and the service would answer no sooner.
	silence = time.Minute
	// kube-proxy and Ingress controllers take a pod out of their lists within this time.
	drain = 5 * time.Second
	// Kubernetes sends KILL after so long unless a pod states otherwise.
	usualStop = 30 * time.Second
)

// LifecycleOf is that of the workload called name, as in Workload.Name.
func LifecycleOf(name string) Lifecycle {
	switch name {
	case "cp":
		// Before it listens it looks through all migrations, starts three job queues and brings back sessions that its
		// predecessor left: seconds, once the database answers. One that loses the database meanwhile never listens, and
		// never ends: it must be restarted within 30 s. In the end it waits 5 s for its streams and then closes its
		// pool, 30 s at most.
		return Lifecycle{Start: 25 * time.Second, Restart: 30 * time.Second, Silence: silence, Drain: drain,
			Stop: 30 * time.Second}
	case "cg":
		// It looks through its migrations before it listens, and ends its connections to chat services, 30 s at most.
		return Lifecycle{Start: 2 * time.Minute, Silence: silence, Drain: drain, Stop: 30 * time.Second}
	case "scheduler":
		// Jobs that are cut off stay locked for two minutes. Its queue lets them end for 45 s.
		return Lifecycle{Stop: 45 * time.Second}
	case "skills":
		// Its cache is filled from the database before it listens. A request of its own is short.
		return Lifecycle{Start: 2 * time.Minute, Silence: silence, Drain: drain, Stop: 20 * time.Second}
	case "office-converter":
		// It starts LibreOffice and Chromium before it listens, and finishes the document that it works on.
		return Lifecycle{Start: 2 * time.Minute, Silence: silence, Stop: usualStop}
	case "env-runner-k8s":
		// It finishes the workspace that it applies.
		return Lifecycle{Stop: usualStop}
	case "afs-controller":
		// SQLite's transactions survive a kill, and workspaces wait while there is no controller: it ends quickly.
		return Lifecycle{Silence: silence, Stop: 5 * time.Second}
	case "sandbox", "browser":
		// They look through their migrations before they listen, and hold nothing that must be finished.
		return Lifecycle{Start: 2 * time.Minute, Silence: silence, Stop: 5 * time.Second}
	case "coturn":
		// It gives its allocations back.
		return Lifecycle{Silence: silence, Stop: 10 * time.Second}
	}
	return Lifecycle{}
}
