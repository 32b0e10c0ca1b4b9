package agent

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestReach(t *testing.T) {
	plainServer := httptest.NewServer(http.NotFoundHandler())
	defer plainServer.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer broken.Close()
	host := func(raw, scheme string) string { return scheme + "://" + strings.SplitN(raw, "://", 2)[1] }
	for name, test := range map[string]struct {
		reach Reach
		stage string
	}{
		"http, any status":           {Reach{URL: plainServer.URL}, ""},
		"https with its own CA":      {Reach{URL: secure.URL, CA: ca}, ""},
		"https with an unknown CA":   {Reach{URL: secure.URL}, StageTLS},
		"https where http is spoken": {Reach{URL: host(plainServer.URL, "https")}, StageTLS},
		"tcp":                        {Reach{URL: host(plainServer.URL, "tcp")}, ""},
		"ldaps with its own CA":      {Reach{URL: host(secure.URL, "ldaps"), CA: ca}, ""},
		"ldaps with an unknown CA":   {Reach{URL: host(secure.URL, "ldaps")}, StageTLS},
		"nobody listens":             {Reach{URL: away.URL}, StageConnect},
		"no such name":               {Reach{URL: "https://no-such-host.invalid"}, StageResolve},
		"a gateway's error":          {Reach{URL: broken.URL}, StageAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			got := runOne(t, Task{Reach: &test.reach})
			if got.Facts[Stage] != test.stage || got.OK() != (test.stage == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The proxy of the environment is used, and only where it is asked for.
func TestReachThroughProxy(t *testing.T) {
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	// Go reads the environment once in a process, so this takes another one.
	t.Setenv("HTTP_PROXY", proxy.URL)
	text := `[{"id":"direct","reach":{"url":"http://models.example.invalid/"}},{"id":"proxied","reach":{"url":"http://models.example.invalid/","proxy":true}}]`
	results := inOtherPod(t, text)()
	if got := results["proxied"]; got.OK() || got.Facts[Stage] != StageAnswer || !strings.Contains(got.Error, "407") || asked != "http://models.example.invalid/" {
		t.Errorf("%+v; the proxy was asked for %q", got, asked)
	}
	if got := results["direct"]; got.OK() || got.Facts[Stage] != StageResolve {
		t.Errorf("%+v", got)
	}
	u, _ := url.Parse(proxy.URL)
	if got := results["proxied"].Facts["proxy"]; got != u.Host {
		t.Errorf("proxy %q", got)
	}
}

func TestResolve(t *testing.T) {
	if got := runOne(t, Task{Resolve: &Resolve{Names: []string{"localhost"}}}); !got.OK() || got.Facts[Addresses] == "" {
		t.Errorf("%+v", got)
	}
	if got := runOne(t, Task{Resolve: &Resolve{Names: []string{"localhost", "no-such-name.invalid."}}}); !strings.Contains(got.Error, "no-such-name.invalid") {
		t.Errorf("%+v", got)
	}
	if got := searchOf("nameserver 198.18.0.10\nsearch nap.svc.example.org svc.example.org\noptions ndots:5\n"); got != "nap.svc.example.org svc.example.org" {
		t.Errorf("%q", got)
	}
}

func TestClock(t *testing.T) {
	ahead := time.Duration(0)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-ahead).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	for _, ahead = range []time.Duration{0, 30 * time.Second, -30 * time.Second} {
		got := runOne(t, Task{Clock: &Clock{URL: server.URL}})
		offset, err := strconv.Atoi(got.Facts[Offset])
		if !got.OK() || err != nil || (time.Duration(offset)*time.Millisecond-ahead).Abs() > time.Second {
			t.Errorf("ahead %s: %+v", ahead, got)
		}
	}
}

func TestBind(t *testing.T) {
	taken, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	for name, test := range map[string]struct {
		ports Ports
		want  string
	}{
		"free":            {Ports{Protocol: "tcp", Address: "127.0.0.1", First: port}, ""},
		"taken":           {Ports{Protocol: "udp", Address: "127.0.0.1", First: port - 1, Last: port + 1}, fmt.Sprintf("port %d/udp is taken", port)},
		"another machine": {Ports{Protocol: "tcp", Address: "198.18.255.254", First: port}, "the address 198.18.255.254 is not one of this node"},
		"no protocol":     {Ports{Protocol: "sctp", First: port}, "neither tcp nor udp"},
	} {
		got := runOne(t, Task{Bind: &Bind{Ports: []Ports{test.ports}}})
		if test.want == "" && !got.OK() || !strings.Contains(got.Error, test.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestServe(t *testing.T) {
	free := func(network string) int {
		if network == "udp" {
			socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = socket.Close() }()
			return socket.LocalAddr().(*net.UDPAddr).Port
		}
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		return listener.Addr().(*net.TCPAddr).Port
	}
	tcp, udp := free("tcp"), free("udp")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan Report, 1)
	go func() {
		done <- Run(ctx, []Task{{ID: "serve", Serve: &Serve{TCP: []int{tcp}, UDP: []int{udp}, Greeting: "nonce"}}})
	}()
	ask := func(network string, port int) string {
		for range 100 {
			connection, err := new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				_ = connection.SetDeadline(time.Now().Add(200 * time.Millisecond))
				if network == "udp" {
					_, _ = connection.Write([]byte("hello"))
				}
				answer := make([]byte, 64)
				n, err := io.ReadAtLeast(connection, answer, 5)
				_ = connection.Close()
				if err == nil {
					return string(answer[:n])
				}
			}
			_ = pause(ctx, 20*time.Millisecond)
		}
		return "no answer"
	}
	if got := ask("tcp", tcp); got != "nonce" {
		t.Errorf("tcp: %s", got)
	}
	if got := ask("udp", udp); got != "nonce" {
		t.Errorf("udp: %s", got)
	}
	stop()
	select {
	case report := <-done:
		if got := report.Results[0]; !got.OK() {
			t.Errorf("%+v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on to serve")
	}
}

func TestIsolated(t *testing.T) {
	listen := func() (net.Listener, int) {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		return listener, listener.Addr().(*net.TCPAddr).Port
	}
	_, open := listen()
	late, closing := listen()
	stays, notClosed := listen()
	_ = stays
	time.AfterFunc(500*time.Millisecond, func() { _ = late.Close() })
	if got := runOne(t, Task{Isolated: &Isolated{Host: "127.0.0.1", Open: open, Closed: closing, Seconds: 5}}); !got.OK() {
		t.Errorf("a policy that takes a moment: %+v", got)
	}
	if got := runOne(t, Task{Isolated: &Isolated{Host: "127.0.0.1", Open: open, Closed: notClosed, Seconds: 1}}); got.Facts[Reachable] != ReachableBoth {
		t.Errorf("no policy: %+v", got)
	}
	if got := runOne(t, Task{Isolated: &Isolated{Host: "127.0.0.1", Open: closing, Closed: notClosed, Seconds: 1}}); got.Facts[Reachable] != ReachableNone {
		t.Errorf("no network: %+v", got)
	}
}

func TestShut(t *testing.T) {
	listen := func() (net.Listener, string) {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		return listener, listener.Addr().String()
	}
	late, closing := listen()
	_, open := listen()
	time.AfterFunc(500*time.Millisecond, func() { _ = late.Close() })
	if got := runOne(t, Task{Shut: &Shut{Addresses: []string{closing}, Seconds: 5}}); !got.OK() {
		t.Errorf("a policy that takes a moment: %+v", got)
	}
	got := runOne(t, Task{Shut: &Shut{Addresses: []string{closing, open}, Seconds: 1}})
	if got.OK() || got.Facts[Reached] != open {
		t.Errorf("an address that is reached: %+v, want %s", got, open)
	}
}

func TestNameServersOf(t *testing.T) {
	const text = "search svc.cluster.local\nnameserver 10.96.0.10\n  nameserver fd00::10 \noptions ndots:5\n"
	if got := nameServersOf(text); got != "nameserver 10.96.0.10\nnameserver fd00::10" {
		t.Errorf("%q", got)
	}
}
