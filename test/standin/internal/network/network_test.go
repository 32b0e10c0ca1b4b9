package network

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestReach(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := Reach(t.Context(), address, time.Second); err != nil {
		t.Error(err)
	}
	listener.Close()
	if err := Reach(t.Context(), address, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), address+" can't be reached for 300ms") {
		t.Errorf("nobody listens: %v", err)
	}
}
