// Command argocd-sync does to a cluster what ArgoCD does with an Application, by ArgoCD's own sync engine: it compares
// rendered manifests with the cluster, runs hooks, applies server-side, waits for health, prunes, heals drift, and
// deletes. What ArgoCD's controller adds to the engine (how objects are tracked, which are compared, the order of a
// deletion) is written here as the controller of ArgoCD 3.6 does it.
//
// Each line of its standard output is a JSON object. Its exit code is 0 if the operation succeeded, 1 if it failed, and
// 2 if nothing was tried.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// errUsage is a mistake in the command line.
var errUsage = errors.New("usage: argocd-sync sync|delete [flags] FILE-OR-FOLDER")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "argocd-sync: "+err.Error())
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	var (
		settings   Settings
		kubeconfig string
		timeout    time.Duration
		selfHeal   bool
	)
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster; also $KUBECONFIG")
	flags.StringVar(&settings.Name, "app", "neutree", "name of the Application")
	flags.StringVar(&settings.Namespace, "namespace", "nap", "namespace of the Application's destination")
	flags.BoolVar(&settings.Prune, "prune", false, "delete what is tracked and no longer rendered")
	flags.BoolVar(&settings.CreateNamespace, "create-namespace", false, "the sync option CreateNamespace=true")
	flags.StringVar(&settings.Tracking, "tracking", TrackAnnotation,
		"how objects are tracked: annotation, as ArgoCD 3 does, or label, as ArgoCD 2 did")
	flags.BoolVar(&selfHeal, "self-heal", false, "after the sync, sync again what drifts, until a signal ends the program")
	flags.DurationVar(&timeout, "timeout", 10*time.Minute, "how long the operation may take")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() != 1 || settings.Tracking != TrackAnnotation && settings.Tracking != TrackLabel {
		return errUsage
	}
	// The engine says much, and its clients use klog.
	klog.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("%w: read the kubeconfig: %w", errUsage, err)
	}
	config.QPS, config.Burst = 100, 200
	manifests, err := Load(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	app, err := Open(config, settings, manifests, &reporter{out: json.NewEncoder(out)})
	if err != nil {
		return err
	}
	defer app.Close()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch args[0] {
	case "sync":
		if err := app.Sync(limited); err != nil || !selfHeal {
			return err
		}
		return app.Heal(ctx, timeout)
	case "delete":
		return app.Delete(limited)
	}
	return errUsage
}

// Event is a line of the output.
type Event struct {
	Time time.Time `json:"time"`
	// Event is what the line is about: result, operation, drift, deleted or kept.
	Event string `json:"event"`
	// Object is Kind.group namespace/name.
	Object string `json:"object,omitempty"`
	// Phase is the sync phase of a result, and the outcome of an operation.
	Phase   string  `json:"phase,omitempty"`
	Status  string  `json:"status,omitempty"`
	Message string  `json:"message,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// reporter writes events, from several goroutines.
type reporter struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (r *reporter) report(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time = time.Now()
	// A reader that has gone is none of the operation's business.
	_ = r.out.Encode(e)
}
