package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	networkingv1 "k8s.io/api/networking/v1"
)

// lookupTime bounds the search for the addresses of all hosts together.
const lookupTime = 10 * time.Second

// usedTables are the tables of the control plane with URLs that users have set and workspaces connect to.
var usedTables = []struct{ what, table, column string }{
	{"model provider", "model_providers", "base_url"},
	{"MCP server", "mcp_catalog", "url"},
}

// used is a URL that a user has set.
type used struct {
	what, name string
	Need
}

// Lost says, in one sentence each and a fixed order, what of the URLs in the platform's database policy keeps workspaces
// from. Only addresses are judged: a host that is not found, or that is part of the platform in namespace, is left out.
func Lost(
	ctx context.Context, conn *pgx.Conn, namespace string, policy *networkingv1.NetworkPolicy, families Families,
) ([]string, error) {
	all, err := readUsed(ctx, conn, namespace)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	said := make([]string, len(all))
	var asked sync.WaitGroup
	// A few at once: a name server may be slow, and there may be hundreds.
	slots := make(chan struct{}, 16)
	for i, one := range all {
		asked.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", one.Host)
			if err != nil {
				return
			}
			if cut := one.Cut(policy, addresses, families); len(cut) > 0 {
				said[i] = fmt.Sprintf("%s %s uses %s, port %d, which takes %s", one.what, one.name, joined(cut), one.Port,
					one.Entries(cut))
			}
		})
	}
	asked.Wait()
	said = slices.DeleteFunc(said, func(sentence string) bool { return sentence == "" })
	slices.Sort(said)
	return slices.Compact(said), nil
}

// readUsed reads the URLs. A database from before a table has none of its kind.
func readUsed(ctx context.Context, conn *pgx.Conn, namespace string) ([]used, error) {
	var all []used
	for _, from := range usedTables {
		var there bool
		err := conn.QueryRow(ctx, `SELECT count(*) = 2 FROM information_schema.columns WHERE table_schema = 'public' AND
			table_name = $1 AND column_name IN ('name', $2)`, from.table, from.column).Scan(&there)
		if err != nil {
			return nil, fmt.Errorf("look for table %s: %w", from.table, err)
		}
		if !there {
			continue
		}
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT coalesce(name, ''), coalesce(%s, '') FROM public.%s", from.column,
			from.table))
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", from.table, err)
		}
		for rows.Next() {
			one := used{what: from.what}
			var url string
			if err := rows.Scan(&one.name, &url); err != nil {
				return nil, fmt.Errorf("read table %s: %w", from.table, err)
			}
			// The platform's own Services are named in the policy by their pods.
			if need, is := NeedOf(url); is && need.Namespace() != namespace {
				one.Need = need
				all = append(all, one)
			}
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("read table %s: %w", from.table, err)
		}
	}
	return all, nil
}

func joined(addresses []netip.Addr) string {
	var texts []string
	for _, address := range addresses {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, " and ")
}
