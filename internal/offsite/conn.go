package offsite

import (
	"context"
	"net"
	"time"
)

// idleTime is how long a connection may move no byte until it counts as cut. How long a request may take is bounded by
// the caller's context alone: a slow line that moves bytes is no broken one.
const idleTime = 3 * time.Minute

// activeConn is a connection whose reads and writes fail once nothing was read or written for some time.
type activeConn struct {
	net.Conn
	idle time.Duration
}

// dial returns a function that connects as http.Transport wants it.
func dial(idle time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &activeConn{conn, idle}, nil
	}
}

func (c *activeConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write extends the time of a read that waits for the answer, too.
func (c *activeConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
