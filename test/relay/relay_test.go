package relay

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v5"
)

const secret = "a-secret-that-two-share"

// server is a TURN server on the loopback interface that knows the secret, and its port.
func server(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running, err := turn.NewServer(turn.ServerConfig{
		Realm:       "test",
		AuthHandler: turn.LongTermTURNRESTAuthHandler(secret, nil),
		ListenerConfigs: []turn.ListenerConfig{{
			Listener: listener,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{
				RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1",
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { running.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

func credentials(t *testing.T, port int, secret string, lifetime time.Duration) Server {
	t.Helper()
	s, err := NewServer("127.0.0.1", port, secret, "sandbox", lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allocate(t *testing.T, s Server) *Allocation {
	t.Helper()
	a, err := s.Allocate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestTwoAllocationsTalk(t *testing.T) {
	s := credentials(t, server(t), secret, time.Hour)
	near, far := allocate(t, s), allocate(t, s)
	for _, pair := range [][2]*Allocation{{near, far}, {far, near}} {
		if err := pair[0].Permit(pair[1].LocalAddr().String()); err != nil {
			t.Fatal(err)
		}
	}
	go far.Echo()
	if _, err := near.WriteTo([]byte("hello"), far.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := near.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 100)
	n, _, err := near.ReadFrom(packet)
	if err != nil || string(packet[:n]) != "hello" {
		t.Errorf("the echo is %q, %v", packet[:n], err)
	}
}

func TestCredentialsAreNeeded(t *testing.T) {
	port := server(t)
	for name, s := range map[string]Server{
		"another secret": credentials(t, port, "another", time.Hour),
		"expired":        credentials(t, port, secret, -time.Hour),
	} {
		if a, err := s.Allocate(t.Context()); err == nil {
			a.Close()
			t.Errorf("%s: the server gives an address", name)
		}
	}
}

func TestAddressOfURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                                  "has no URL",
		"turn:192.0.2.1:3478":               "not of the form",
		"stun:192.0.2.1:3478?transport=tcp": "not of the form",
		"turn:192.0.2.1?transport=tcp":      "missing port",
		"turn:127.0.0.1:" + closedPort(t) + "?transport=tcp": "reach the TURN server",
	} {
		s := Server{}
		if url != "" {
			s.URLs = []string{url}
		}
		if _, err := s.Allocate(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", url, err, want)
		}
	}
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}
