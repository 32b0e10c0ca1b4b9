// Package network connects to what a process needs, and listens for those who need it.
package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Reach waits until an address accepts a connection.
func Reach(ctx context.Context, address string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dialer := net.Dialer{Timeout: 2 * time.Second}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s can't be reached for %s: %w", address, limit, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Accept holds connections open until their other end closes them, and returns when the context ends.
func Accept(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() }) //nolint:errcheck // It ends the loop below.
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept a connection: %w", err)
		}
		go func() {
			defer conn.Close() //nolint:errcheck // The other end went away.
			_, _ = io.Copy(io.Discard, conn)
		}()
	}
}
