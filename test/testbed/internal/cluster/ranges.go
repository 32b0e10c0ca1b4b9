package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// reserve gives the plan a range of addresses that no other testbed has, and saves it, which is what reserves the
// range. Of testbeds that share the base directory only one at a time does this. The links of testbeds that the
// machine has, and the networks that they lead to, come from routed.
func (t *Testbed) reserve(ctx context.Context, c *plan.Cluster, routed func() (map[string]string, error)) error {
	unlock, err := lock(ctx, t.Log, t.Base)
	if err != nil {
		return err
	}
	defer unlock()
	taken, err := t.planned()
	if err != nil {
		return err
	}
	links, err := routed()
	if err != nil {
		return err
	}
	for link, network := range links {
		if name := strings.TrimPrefix(link, hostPrefix); name != t.Name {
			taken[network] = name
		}
	}
	for c.Range = range plan.Ranges {
		if _, used := taken[c.Network()]; !used {
			return c.Save()
		}
	}
	var names []string
	for _, name := range taken {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Errorf("all %d ranges of addresses are in use, by the testbeds %s: run testbed --name NAME down for one of them",
		plan.Ranges, strings.Join(names, ", "))
}

// planned maps the networks of the other testbeds in the base directory, which need not run, to their names.
func (t *Testbed) planned() (map[string]string, error) {
	planned := map[string]string{}
	names, err := List(t.Base)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == t.Name {
			continue
		}
		other, err := plan.Load(filepath.Join(t.Base, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: run testbed --name %s down", err, name)
		}
		planned[other.Network()] = name
	}
	return planned, nil
}

// routed maps the links of testbeds that the machine has to the networks that they lead to.
func routed() (map[string]string, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the routes: %w", err)
	}
	links := map[string]string{}
	for _, route := range routes {
		link, err := netlink.LinkByIndex(route.LinkIndex)
		if err != nil || route.Dst == nil {
			continue
		}
		// The link's own network, of two addresses, is on the same link.
		if name := link.Attrs().Name; isHostLink(name) && route.Gw != nil {
			links[name] = route.Dst.String()
		}
	}
	return links, nil
}

// List names the testbeds that have a state directory in base, whatever state they are in.
func List(base string) ([]string, error) {
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the testbeds: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && plan.ValidateName(entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
