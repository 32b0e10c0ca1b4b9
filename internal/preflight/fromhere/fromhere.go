// Package fromhere asks probe pods for an answer from where the command runs.
package fromhere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Greeted tries for a while to get the greeting.
func Greeted(ctx context.Context, network, host string, port int32, greeting string) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	deadline, _ := ctx.Deadline()
	var last error
	for {
		err := ask(ctx, network, host, port, greeting)
		if err == nil {
			return nil
		}
		// An attempt that the end of the time cut off says nothing about what was met before.
		if last == nil || time.Now().Before(deadline) {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func ask(ctx context.Context, network, host string, port int32, greeting string) error {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	connection, err := dialer.DialContext(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	if network == "udp" {
		if _, err := connection.Write([]byte(strings.Repeat(".", 64))); err != nil {
			return err
		}
	}
	answer := make([]byte, len(greeting))
	if _, err := io.ReadFull(connection, answer); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if string(answer) != greeting {
		return errors.New("something else answers")
	}
	return nil
}
