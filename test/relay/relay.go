// Package relay uses a TURN server as browsers and those who watch them do: with credentials made from the secret that
// it shares with whoever hands them out, over TCP.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/pion/turn/v5"
)

// Server is a TURN server with credentials for it, in the form that browsers know it by.
type Server struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// NewServer makes credentials from the server's secret that hold for a time.
func NewServer(host string, port int, secret, name string, lifetime time.Duration) (Server, error) {
	username, password, err := turn.GenerateLongTermTURNRESTCredentials(secret, name, lifetime)
	if err != nil {
		return Server{}, fmt.Errorf("make credentials for the TURN server: %w", err)
	}
	url := fmt.Sprintf("turn:%s?transport=tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	return Server{URLs: []string{url}, Username: username, Credential: password}, nil
}

// address is where the server listens, taken from its first URL.
func (s Server) address() (string, error) {
	if len(s.URLs) == 0 {
		return "", errors.New("the TURN server has no URL")
	}
	u, err := url.Parse(s.URLs[0])
	if err != nil {
		return "", fmt.Errorf("the TURN server's URL: %w", err)
	}
	if u.Scheme != "turn" || u.Query().Get("transport") != "tcp" {
		return "", fmt.Errorf("the TURN server's URL %s is not of the form turn:HOST:PORT?transport=tcp", s.URLs[0])
	}
	if _, _, err := net.SplitHostPort(u.Opaque); err != nil {
		return "", fmt.Errorf("the TURN server's URL %s: %w", s.URLs[0], err)
	}
	return u.Opaque, nil
}

// Allocation is an address at the server whose packets come here.
type Allocation struct {
	net.PacketConn
	client *turn.Client
	conn   net.Conn
}

// Allocate asks the server for an address. The context bounds the asking; Close gives the address back.
func (s Server) Allocate(ctx context.Context) (*Allocation, error) {
	address, err := s.address()
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("reach the TURN server: %w", err)
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: conn.RemoteAddr().String(), Conn: turn.NewSTUNConn(conn), Username: s.Username, Password: s.Credential,
		RequestedAddressFamily: turn.RequestedAddressFamilyIPv4,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("use the TURN server at %s: %w", address, err), conn.Close())
	}
	a := &Allocation{client: client, conn: conn}
	if err := client.Listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("use the TURN server at %s: %w", address, err), a.Close())
	}
	packets, err := client.AllocateWithContext(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask the TURN server at %s for an address: %w", address, err), a.Close())
	}
	a.PacketConn = packets
	return a, nil
}

// Permit lets a peer send to the allocation. The server refuses peers that it relays nothing to.
func (a *Allocation) Permit(peer string) error {
	address, err := net.ResolveUDPAddr("udp4", peer)
	if err != nil {
		return fmt.Errorf("peer %s: %w", peer, err)
	}
	if err := a.client.CreatePermission(address); err != nil {
		return fmt.Errorf("permit peer %s: %w", peer, err)
	}
	return nil
}

// Echo sends back every packet until the allocation is closed.
func (a *Allocation) Echo() {
	packet := make([]byte, 1500)
	for {
		n, from, err := a.ReadFrom(packet)
		if err != nil {
			return
		}
		if _, err := a.WriteTo(packet[:n], from); err != nil {
			return
		}
	}
}

// Close gives the address back.
func (a *Allocation) Close() error {
	var given error
	if a.PacketConn != nil {
		given = a.PacketConn.Close()
	}
	a.client.Close()
	if err := a.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return errors.Join(given, err)
	}
	return given
}
