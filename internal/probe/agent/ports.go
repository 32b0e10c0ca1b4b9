package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Bind proves that ports of the machine are free.
type Bind struct {
	Ports []Ports `json:"ports"`
}

// Ports are those from First to Last of one protocol.
type Ports struct {
	// Protocol is tcp or udp.
	Protocol string `json:"protocol"`
	// Address that must be one of the machine's; empty for all.
	Address string `json:"address,omitempty"`
	First   int    `json:"first"`
	// Last is First if it is 0.
	Last int `json:"last,omitempty"`
}

func (b *Bind) run(ctx context.Context, facts Facts) error {
	for _, ports := range b.Ports {
		for port := ports.First; port <= max(ports.First, ports.Last); port++ {
			closer, err := listen(ctx, ports.Protocol, net.JoinHostPort(ports.Address, strconv.Itoa(port)))
			switch {
			case errors.Is(err, syscall.EADDRINUSE):
				facts["cause"] = "taken"
				facts["port"] = fmt.Sprintf("%d/%s", port, ports.Protocol)
				return fmt.Errorf("port %d/%s is taken", port, ports.Protocol)
			case errors.Is(err, syscall.EADDRNOTAVAIL):
				facts["cause"] = "address"
				return fmt.Errorf("the address %s is not one of this node", ports.Address)
			case err != nil:
				return fmt.Errorf("listen on port %d/%s: %w", port, ports.Protocol, err)
			}
			if err := closer.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func listen(ctx context.Context, protocol, address string) (io.Closer, error) {
	var config net.ListenConfig
	switch protocol {
	case "tcp":
		return config.Listen(ctx, protocol, address)
	case "udp":
		return config.ListenPacket(ctx, protocol, address)
	}
	return nil, fmt.Errorf("the protocol %q is neither tcp nor udp", protocol)
}

// Serve answers on ports, so that somebody else can prove that they are reached.
type Serve struct {
	TCP []int `json:"tcp,omitempty"`
	UDP []int `json:"udp,omitempty"`
	// Greeting is what everybody is told.
	Greeting string `json:"greeting"`
	// Seconds until the end; 60 if 0.
	Seconds int `json:"seconds,omitempty"`
}

func (s *Serve) run(ctx context.Context, _ Facts) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(s.Seconds, time.Minute))
	defer cancel()
	var open []io.Closer
	var serving sync.WaitGroup
	defer serving.Wait()
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for _, port := range s.TCP {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		open = append(open, listener)
		serving.Go(func() { s.greet(listener) })
	}
	for _, port := range s.UDP {
		socket, err := new(net.ListenConfig).ListenPacket(ctx, "udp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		open = append(open, socket)
		serving.Go(func() { s.answer(socket) })
	}
	<-ctx.Done()
	return nil
}

func (s *Serve) greet(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(connection, s.Greeting)
		_ = connection.Close()
	}
}

func (s *Serve) answer(socket net.PacketConn) {
	buffer := make([]byte, 64)
	for {
		// One short answer to one datagram: nobody can use it to flood somebody else.
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		if n >= len(s.Greeting) {
			_, _ = socket.WriteTo([]byte(s.Greeting), from)
		}
	}
}

// Isolated proves that a NetworkPolicy is enforced: of two ports of one pod that both listen, the policy
// lets only one be reached.
type Isolated struct {
	Host string `json:"host"`
	// Open is the port that the policy lets through.
	Open int `json:"open"`
	// Closed is the one that it does not.
	Closed int `json:"closed"`
	// Seconds bound both waits, for the one to answer and for the other to be shut; 15 if 0.
	Seconds int `json:"seconds,omitempty"`
}

// What Isolated found.
const (
	// Reachable is the fact's name; its value is one of the following.
	Reachable = "reachable"
	// ReachableNone: not even the open port answers.
	ReachableNone = "none"
	// ReachableBoth: the policy has no effect.
	ReachableBoth = "both"
)

func (i *Isolated) run(ctx context.Context, facts Facts) error {
	limit := seconds(i.Seconds, 15*time.Second)
	if err := await(ctx, limit, i.address(i.Open), true, 1); err != nil {
		facts[Reachable] = ReachableNone
		return fmt.Errorf("the port that a policy lets through is not reached: %w", err)
	}
	// Plugins take a moment to learn of a policy; once it holds, it holds.
	if err := await(ctx, limit, i.address(i.Closed), false, 2); err != nil {
		facts[Reachable] = ReachableBoth
		return errors.New("a port that a policy closes is reached all the same")
	}
	return nil
}

func (i *Isolated) address(port int) string { return net.JoinHostPort(i.Host, strconv.Itoa(port)) }

// Shut checks that no connection to addresses is accepted.
type Shut struct {
	// Addresses are host:port.
	Addresses []string `json:"addresses"`
	// Seconds bound the wait for all of them to be shut; 15 if 0.
	Seconds int `json:"seconds,omitempty"`
}

// Reached is the fact that names the addresses that are not shut, with blanks between them.
const Reached = "reached"

func (s *Shut) run(ctx context.Context, facts Facts) error {
	limit := seconds(s.Seconds, 15*time.Second)
	errs := make([]error, len(s.Addresses))
	var all sync.WaitGroup
	for i, address := range s.Addresses {
		all.Go(func() { errs[i] = await(ctx, limit, address, false, 2) })
	}
	all.Wait()
	var reached []string
	for i, address := range s.Addresses {
		if errs[i] != nil {
			reached = append(reached, address)
		}
	}
	if len(reached) == 0 {
		return nil
	}
	facts[Reached] = strings.Join(reached, " ")
	return fmt.Errorf("connections are accepted at %s", strings.Join(reached, " and "))
}

// await tries an address until it was open, or shut, so many times in a row.
func await(ctx context.Context, limit time.Duration, address string, open bool, times int) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	row := 0
	for {
		dialer := net.Dialer{Timeout: time.Second}
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if (err == nil) == open {
			row++
		} else {
			row = 0
		}
		if row == times {
			return nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}
