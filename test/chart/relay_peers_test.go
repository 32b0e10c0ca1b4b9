package chart_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/relay"
)

// sharedSecret is what coturn and those who hand out credentials for it know.
const sharedSecret = "a-secret-of-this-test-alone"

// ownAddress is an IPv4 address of this machine other than loopback, to which coturn would relay nothing.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && !network.IP.IsLoopback() {
			return network.IP.String()
		}
	}
	t.Fatal("this machine has no IPv4 address but loopback")
	return ""
}

// runCoturn starts coturn with the rendered configuration and arguments, as the pod's own address that of this machine
// and as the node's another, and returns how clients use it.
func runCoturn(t *testing.T, hostIP string, set ...string) relay.Server {
	t.Helper()
	turnserver, err := exec.LookPath("turnserver")
	if err != nil {
		t.Fatalf("%v: install Debian's coturn, as hack/packages.sh does", err)
	}
	own := ownAddress(t)
	listener, err := net.Listen("tcp", own+":0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	objects := renderAll(t, set...).Objects
	dir := t.TempDir()
	config := strings.NewReplacer("$(TURN_AUTH_SECRET)", sharedSecret, "/tmp/", dir+"/",
		"listening-port="+strconv.Itoa(platform.TurnPort), "listening-port="+strconv.Itoa(port),
	).Replace(relayConfig(t, objects).Text)
	path := filepath.Join(dir, "turnserver.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args := podOf(t, objects, "Deployment", "coturn").container(t, "coturn").Args
	for i, arg := range args {
		args[i] = strings.NewReplacer("$(POD_IP)", own, "$(HOST_IP)", hostIP,
			"/etc/coturn/turnserver.conf", path).Replace(arg)
	}
	command := exec.Command(turnserver, args...)
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("%s %v:\n%s", turnserver, args, output.String())
		}
	})
	server, err := relay.NewServer(own, port, sharedSecret, "sandbox", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", net.JoinHostPort(own, strconv.Itoa(port)))
		if err == nil {
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			return server
		}
		if time.Now().After(deadline) {
			t.Fatalf("coturn does not answer: %v", err)
		}
	}
}

// A browser and its user, who both know coturn alone, reach each other by their addresses there. In a network of its
// own coturn relays to nothing on its node, also where users reach it by the node's address.
func TestRelayDoesNotReachItsNode(t *testing.T) {
	for name, c := range map[string]struct {
		node string
		set  []string
	}{
		"a port of the node": {"203.0.113.10", []string{"browser.coturn.network=hostPort"}},
		"a load balancer":    {"198.51.100.7", []string{"browser.coturn.network=loadBalancer"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := runCoturn(t, c.node, c.set...)
			user, err := server.Allocate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer user.Close()
			browser, err := server.Allocate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer browser.Close()
			for _, pair := range [][2]*relay.Allocation{{user, browser}, {browser, user}} {
				if err := pair[0].Permit(pair[1].LocalAddr().String()); err != nil {
					t.Fatal(err)
				}
			}
			go browser.Echo()
			if _, err := user.WriteTo([]byte("picture"), browser.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if err := user.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			packet := make([]byte, 100)
			n, from, err := user.ReadFrom(packet)
			if err != nil || string(packet[:n]) != "picture" {
				t.Fatalf("user and browser at %s do not reach each other: %q from %v, %v",
					browser.LocalAddr(), packet[:n], from, err)
			}
			peers := []string{"10.244.1.6:53", "169.254.20.10:53", "127.0.0.1:53", "192.168.1.1:8472"}
			if c.node != "203.0.113.10" {
				// That of the other case is mapped to coturn's own address.
				peers = append(peers, c.node+":8472")
			}
			for _, peer := range peers {
				if err := user.Permit(peer); err == nil || !strings.Contains(err.Error(), "403") {
					t.Errorf("coturn relays to %s: %v", peer, err)
				}
			}
			if err := user.Permit("9.9.9.9:3000"); err != nil {
				t.Errorf("coturn relays to no user any more: %v", err)
			}
		})
	}
}
