package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/egress"
)

// Resolve proves that names have addresses.
type Resolve struct {
	Names []string `json:"names"`
}

// What Resolve found.
const (
	// Addresses are those of the last name, with blanks between them.
	Addresses = "addresses"
	// NameServers are the lines of the pod's resolv.conf that name some.
	NameServers = "nameservers"
	// PodIPs are the pod's own addresses, and ServiceHost is that of the API server's Service: the environment variables
	// of package egress.
	PodIPs      = "podIPs"
	ServiceHost = "serviceHost"
)

func (r *Resolve) run(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if content, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		facts["search"] = searchOf(string(content))
		facts[NameServers] = nameServersOf(string(content))
	}
	facts[PodIPs], facts[ServiceHost] = os.Getenv(egress.PodIPs), os.Getenv(egress.ServiceHost)
	for _, name := range r.Names {
		addresses, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			return fmt.Errorf("look up %s: %w", name, err)
		}
		facts[Addresses] = strings.Join(addresses, " ")
	}
	return nil
}

// searchOf is the list of domains that a resolv.conf appends to names.
func searchOf(content string) string {
	for _, line := range strings.Split(content, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "search" {
			return strings.Join(fields[1:], " ")
		}
	}
	return ""
}

// nameServersOf are the lines of a resolv.conf that name servers.
func nameServersOf(content string) string {
	var lines []string
	for _, line := range strings.Split(content, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "nameserver") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// Clock compares the machine's time with a server's.
type Clock struct {
	// URL of a server whose answers carry a Date. Nothing is sent to it that would need its identity proved.
	URL string `json:"url"`
}

// Offset is the fact that says by how many milliseconds the machine is ahead of the server.
const Offset = "offset"

func (c *Clock) run(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, c.URL, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	before := time.Now()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return plain(err)
	}
	after := time.Now()
	_ = response.Body.Close()
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return fmt.Errorf("the answer of %s has no Date", request.URL.Host)
	}
	// A Date has whole seconds, cut off.
	server := date.Add(500 * time.Millisecond)
	here := before.Add(after.Sub(before) / 2)
	facts[Offset] = strconv.FormatInt(here.Sub(server).Milliseconds(), 10)
	return nil
}
