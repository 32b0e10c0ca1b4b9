package backup

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
)

// A client moves a backup by a command that it runs in a pod with the PVC: only so does what the command prints not
// become a log, which the node would keep on its disk. The pod's own process holds the pod while a command is at work,
// and ends by itself some time after the last one, so that nothing stays behind a client that is gone.

// sessionAddress is a socket without a file, which all processes of the pod reach.
const sessionAddress = "@neutree-backup"

// Hold returns when no command has joined for patience.
func Hold(ctx context.Context, patience time.Duration) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", sessionAddress)
	if err != nil {
		return fmt.Errorf("wait for a command: %w", err)
	}
	defer listener.Close() //nolint:errcheck // The process ends.
	joined, left := make(chan struct{}), make(chan struct{})
	go accept(ctx, listener, joined, left)
	active := 0
	idle := time.NewTimer(patience)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-joined:
			active++
			idle.Stop()
		case <-left:
			if active--; active == 0 {
				idle.Reset(patience)
			}
		case <-idle.C:
			return nil
		}
	}
}

// accept reports each command that joins, and that it has left.
func accept(ctx context.Context, listener net.Listener, joined, left chan<- struct{}) {
	report := func(to chan<- struct{}) {
		select {
		case to <- struct{}{}:
		case <-ctx.Done():
		}
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		report(joined)
		go func() {
			defer conn.Close() //nolint:errcheck // The other end has gone.
			_, _ = io.Copy(io.Discard, conn)
			report(left)
		}()
	}
}

// joinTime is how long Join waits for the process that holds the pod, whose container may have just started.
const joinTime = 10 * time.Second

// Join joins the process that holds the pod. The end of this process leaves it too.
func Join(ctx context.Context) (leave func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", sessionAddress)
		if err == nil {
			return conn.Close, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, hook.Errorf(hook.Usage, "no process holds this pod: run nap-hooks backup hold in it first: %w", err)
		}
	}
}
