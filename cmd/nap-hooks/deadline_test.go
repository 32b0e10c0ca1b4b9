package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// silent accepts connections and never says a word, as a server does whose node was lost.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { _ = connection.Close() })
		}
	}()
	return listener.Addr().String()
}

// A Job's deadline deletes the pod, and the log with it. So each command ends by itself when its own time is up,
// whoever it waits for, and says that it was the time. Two never fail: an uninstall and a rollback must not hang on
// them.
func TestEveryCommandEndsAtItsDeadline(t *testing.T) {
	address, dir := silent(t), t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("DATABASE_URL", "postgresql://nap:x@"+address+"/nap")
	t.Setenv("KUBECONFIG", file("kubeconfig", fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: one\n"+
		"clusters: [{name: one, cluster: {server: \"http://%s\"}}]\nusers: [{name: one}]\ncontexts: "+
		"[{name: one, context: {cluster: one, user: one}}]\n", address)))
	if err := os.Mkdir(filepath.Join(dir, "sql"), 0o700); err != nil {
		t.Fatal(err)
	}
	file("sql/001_init.sql", "SELECT 1;")
	const database = "{cluster: nap-pg, url: {secret: s, key: url}, sets: [{source: gateway, set: s}], job: /nowhere}"
	for name, c := range map[string]struct {
		args string
		spec string
		code int
	}{
		"wait for a set":    {"wait --set x", "", 20},
		"wait for a source": {"wait --source gateway", "", 20},
		"migrate":           {"migrate", "set: x\nmigrations: [{source: gateway, dir: " + dir + "/sql}]", 20},
		"plan":              {"migrate --dry-run", "set: x\nmigrations: [{source: gateway, dir: " + dir + "/sql}]", 20},
		"back up": {"backup create --name b", "dir: " + dir +
			"/backups\nclaim: c\nsize: 1Gi\nretention: 1", 20},
		"back up on a schedule": {"backup scheduled --job j", "dir: " + dir +
			"/backups\nclaim: c\nsize: 1Gi\nretention: 1", 20},
		"guard": {"guard", "namespace: nap\nstorageClasses: [{purpose: p, value: v}]", 20},
		"prepare": {"prepare",
			"namespace: nap\ngate: {configMap: c, release: r}\nsecrets: {namespace: nap}\nmigrate: " + database, 20},
		"delete":   {"delete", "namespace: nap\nrelease: neutree", 20},
		"teardown": {"teardown", "namespace: nap\nrelease: neutree\nprefix: nap", 0},
		"rollback": {"rollback", "namespace: nap\nrelease: neutree\nprefix: nap\nconfigMap: c\ndatabase: " + database, 0},
		"seed":     {"seed", "set: x\nseeds: [{name: n, command: [sleep, \"600\"]}]", 20},
		"test": {"test", "set: x\nlogIn: http://" + address +
			"/log-in\nservices: [{name: s, url: \"http://" + address + "/health\"}]", 10},
	} {
		t.Run(name, func(t *testing.T) {
			args := strings.Fields(c.args)
			if c.spec != "" {
				args = append(args, "--spec", file("spec.yaml", c.spec))
			}
			code, _, message := call(t, append(args, "--timeout", "1s")...)
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, message)
			}
		})
	}
}
