package netpolicy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A pod must not run before its policies are enforced, and the API server learns its address seconds too late. So the
// container runtime calls a network plugin after those that connect the pod, and the plugin asks the node's agent.

// PluginName is the network plugin's. The program runs as the plugin when it is called by that name.
const PluginName = "neutree-network-policy"

const (
	socket = "/run/" + PluginName + ".sock"
	// learnWithin is how long a pod's start waits for its policies before it fails, to be tried again by kubelet.
	learnWithin = 20 * time.Second
)

// announcement is what the plugin tells the agent.
type announcement struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Address   string `json:"address"`
}

// listen serves the plugin until ctx ends.
func (a *agent) listen(ctx context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(a.serve), ReadHeaderTimeout: learnWithin}
	context.AfterFunc(ctx, func() { server.Close() })
	return server.Serve(listener)
}

func (a *agent) serve(response http.ResponseWriter, request *http.Request) {
	var said announcement
	if err := json.NewDecoder(request.Body).Decode(&said); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(request.Context(), learnWithin)
	defer cancel()
	if err := a.learn(ctx, said.Namespace, said.Name, said.Address); err != nil {
		http.Error(response, err.Error(), http.StatusServiceUnavailable)
	}
}

// Plugin is one call of the network plugin, with the protocol's environment variables and standard input.
func Plugin(ctx context.Context, getenv func(string) string, in io.Reader, out io.Writer) error {
	switch command := getenv("CNI_COMMAND"); command {
	case "ADD":
		return add(ctx, getenv("CNI_ARGS"), in, out)
	case "DEL", "CHECK":
		return nil
	case "VERSION":
		_, err := io.WriteString(out, `{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}`)
		return err
	default:
		return fmt.Errorf("the network plugin has no command %q", command)
	}
}

// add announces the pod and passes on what the plugins before it have done.
func add(ctx context.Context, args string, in io.Reader, out io.Writer) error {
	var config struct {
		PrevResult json.RawMessage `json:"prevResult"`
	}
	if err := json.NewDecoder(in).Decode(&config); err != nil {
		return fmt.Errorf("read the network's configuration: %w", err)
	}
	said, err := parseCall(args, config.PrevResult)
	if err != nil {
		return err
	}
	if err := announce(ctx, said); err != nil {
		return err
	}
	_, err = out.Write(config.PrevResult)
	return err
}

func parseCall(args string, result []byte) (announcement, error) {
	var said announcement
	for pair := range strings.SplitSeq(args, ";") {
		switch key, value, _ := strings.Cut(pair, "="); key {
		case "K8S_POD_NAMESPACE":
			said.Namespace = value
		case "K8S_POD_NAME":
			said.Name = value
		}
	}
	if said.Namespace == "" || said.Name == "" {
		return said, fmt.Errorf("CNI_ARGS names no pod: %q", args)
	}
	var parsed struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(result, &parsed); err != nil {
		return said, fmt.Errorf("read the result of the plugin before: %w", err)
	}
	for _, ip := range parsed.IPs {
		if prefix, err := netip.ParsePrefix(ip.Address); err == nil && prefix.Addr().Is4() {
			said.Address = prefix.Addr().String()
			return said, nil
		}
	}
	return said, fmt.Errorf("the plugin before gave the pod no IPv4 address: %s", result)
}

// announce waits for the agent where it has just started.
func announce(ctx context.Context, said announcement) error {
	ctx, cancel := context.WithTimeout(ctx, learnWithin)
	defer cancel()
	body, err := json.Marshal(said)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/", bytes.NewReader(body))
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			return verdict(response)
		}
		if wait(ctx, settle); ctx.Err() != nil {
			return fmt.Errorf("the agent of the network policies does not answer: %w", err)
		}
	}
}

func verdict(response *http.Response) error {
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return errors.Join(errors.New(strings.TrimSpace(string(reason))), err)
}

// PluginError is a failure in the protocol's form.
func PluginError(err error) []byte {
	const internal = 999
	data, marshalErr := json.Marshal(map[string]any{"cniVersion": "0.4.0", "code": internal, "msg": err.Error()})
	if marshalErr != nil {
		return nil
	}
	return data
}

// LinkPlugins fills dir with links to all plugins in from and to the program, under the plugin's name.
func LinkPlugins(from, program, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plugins, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("list the network plugins: %w", err)
	}
	links := map[string]string{PluginName: program}
	for _, plugin := range plugins {
		links[plugin.Name()] = filepath.Join(from, plugin.Name())
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
