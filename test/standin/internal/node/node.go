// Package node plays the interpreter that the platform's images start their services with. A script of
// these images is one line that names the program to play, so a wrong working directory finds no script,
// as it would with the real interpreter.
package node

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/neutree-ai/packaging/test/standin/internal/browser"
	"github.com/neutree-ai/packaging/test/standin/internal/controlplane"
	"github.com/neutree-ai/packaging/test/standin/internal/gateway"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/runner"
	"github.com/neutree-ai/packaging/test/standin/internal/sandbox"
	"github.com/neutree-ai/packaging/test/standin/internal/scheduler"
	"github.com/neutree-ai/packaging/test/standin/internal/seed"
	"github.com/neutree-ai/packaging/test/standin/internal/skills"
)

const scriptPrefix = "// stand-in: "

func programs() map[string]func(*process.Process) error {
	return map[string]func(*process.Process) error{
		"control-plane":          controlplane.Run,
		"channel-gateway":        gateway.Run,
		"scheduler":              scheduler.Run,
		"skills-content-service": skills.Run,
		"env-runner-k8s":         runner.Run,
		"sandbox-service":        sandbox.Run,
		"browser-service":        browser.Run,
		"seed-admin":             seed.Admin,
		"seed-oauth-clients":     seed.OAuthClients,
		"seed-mcp-catalog-core":  seed.ToolCatalog,
	}
}

// Run runs a script file, or the expression after -e.
func Run(args []string) int {
	p := process.New("node", args)
	if len(args) == 2 && (args[0] == "-e" || args[0] == "--eval") {
		return p.Code(evaluate(args[1]))
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return p.Code(fmt.Errorf("the stand-in's node runs a script or -e EXPRESSION, not %q", args))
	}
	name, err := program(args[0])
	if err != nil {
		return p.Code(err)
	}
	p = process.New(name, args[1:])
	return p.Code(programs()[name](p))
}

// program reads which program a script stands for.
func program(script string) (string, error) {
	content, err := os.ReadFile(script)
	if err != nil {
		dir, _ := os.Getwd()
		return "", fmt.Errorf("cannot find module %s in %s: %w", script, dir, err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	name, found := strings.CutPrefix(first, scriptPrefix)
	if _, known := programs()[name]; !found || !known {
		return "", fmt.Errorf("%s is no script of a stand-in", script)
	}
	return name, nil
}

// kill is the one expression that a chart has use for in images without a kill program.
var kill = regexp.MustCompile(`^\s*process\.kill\(\s*(\d+)\s*,\s*['"](SIG[A-Z0-9]+)['"]\s*\)\s*;?\s*$`)

func evaluate(expression string) error {
	match := kill.FindStringSubmatch(expression)
	if match == nil {
		return fmt.Errorf("the stand-in's node evaluates process.kill(PID, 'SIGNAL') only, not %q", expression)
	}
	pid, err := strconv.Atoi(match[1])
	if err != nil {
		return fmt.Errorf("process.kill: %w", err)
	}
	signals := map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP, "SIGKILL": syscall.SIGKILL}
	sig, known := signals[match[2]]
	if !known {
		return errors.New("process.kill: unknown signal " + match[2])
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("process.kill(%d, %s): %w", pid, match[2], err)
	}
	return nil
}
