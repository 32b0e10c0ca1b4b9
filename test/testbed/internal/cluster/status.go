package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// Status is what runs.
type Status struct {
	plan.Parameters
	// Complete says that it came up to its end.
	Complete   bool           `json:"complete"`
	Server     string         `json:"server"`
	Kubeconfig string         `json:"kubeconfig"`
	Members    []MemberStatus `json:"members"`
	// ResidentBytes is the memory of all processes, each shared page counted once.
	ResidentBytes int64 `json:"residentBytes"`
}

// MemberStatus is the hub's or a node's.
type MemberStatus struct {
	Name          string `json:"name"`
	Address       string `json:"address"`
	State         string `json:"state"`
	PID           int    `json:"pid,omitempty"`
	ResidentBytes int64  `json:"residentBytes"`
}

// Status looks at what runs.
func (t *Testbed) Status(ctx context.Context) (*Status, error) {
	c, state, err := t.load()
	if err != nil {
		return nil, err
	}
	groups, err := cgroup.Mounted(c.Name)
	if err != nil {
		return nil, err
	}
	status := &Status{Parameters: c.Parameters, Complete: state.Complete, Server: c.Server(), Kubeconfig: c.Kubeconfig()}
	ready := readyNodes(ctx, c)
	for _, name := range append([]string{hub.Name}, c.NodeNames()...) {
		m, err := memberStatus(c, groups, name, state.Members[name], ready)
		if err != nil {
			return nil, err
		}
		status.Members = append(status.Members, m)
		status.ResidentBytes += m.ResidentBytes
	}
	return status, nil
}

func memberStatus(c *plan.Cluster, groups cgroup.Hierarchies, name string, identity supervise.Identity, ready map[string]bool) (MemberStatus, error) {
	m := MemberStatus{Name: name, Address: c.HubAddress(), State: "stopped"}
	if n, err := c.Number(name); err == nil {
		m.Address = c.Address(n)
	}
	if !identity.Alive() {
		return m, nil
	}
	m.PID, m.State = identity.PID, "running"
	if name != hub.Name && !ready[name] {
		m.State = "not ready"
	}
	pids, err := groups.Processes(name)
	if err != nil {
		return m, err
	}
	for _, pid := range pids {
		m.ResidentBytes += resident(pid)
	}
	return m, nil
}

// readyNodes asks the API server, but not for long: that it does not answer is a status too.
func readyNodes(ctx context.Context, c *plan.Cluster) map[string]bool {
	ready := map[string]bool{}
	client, err := newClient(c)
	if err != nil {
		return ready
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return ready
	}
	for _, node := range list.Items {
		ready[node.Name] = len(unready([]string{node.Name}, []corev1.Node{node}, nil)) == 0
	}
	return ready
}

// resident is a process's share of the memory, or 0 when it has ended.
func resident(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	return parsePSS(string(data))
}

func parsePSS(rollup string) int64 {
	for line := range strings.Lines(rollup) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "Pss:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kilobytes * 1024
		}
	}
	return 0
}

// Write prints the status as text or as JSON.
func (s *Status) Write(out io.Writer, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(s)
	case "text":
		return s.writeText(out)
	}
	return fmt.Errorf("no output format %q: give text or json", format)
}

func (s *Status) writeText(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MEMBER\tADDRESS\tSTATE\tPID\tMEMORY")
	for _, m := range s.Members {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", m.Name, m.Address, m.State, m.PID, mebibytes(m.ResidentBytes))
	}
	fmt.Fprintf(table, "\t\t\t\t%s\n", mebibytes(s.ResidentBytes))
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\nAPI server %s\nexport KUBECONFIG=%s\n", describe(s.Parameters), s.Server, s.Kubeconfig)
	return err
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
