// Package config reads the environment of a service and says in one line everything that is wrong with it.
// It refuses values that the platform's real services would accept and misbehave on: their dangerous
// defaults, templates that nobody expanded, public constants in place of secrets.
package config

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/neutree-ai/packaging/test/contract"
)

// Env is an environment that is being read.
type Env struct {
	lookup   func(string) (string, bool)
	problems []string
}

// New reads from a lookup such as os.LookupEnv.
func New(lookup func(string) (string, bool)) *Env { return &Env{lookup: lookup} }

// Workload checks everything that the named workload of the platform must find.
func (e *Env) Workload(name string) {
	workloads := slices.Concat(contract.Workloads(), contract.ModuleWorkloads())
	i := slices.IndexFunc(workloads, func(w contract.Workload) bool { return w.Name == name })
	if i < 0 {
		e.problem(name, "is no workload of the platform")
		return
	}
	for _, env := range workloads[i].Env {
		value, set := e.get(env.Name)
		if env.Optional && value == "" {
			continue
		}
		if !set {
			e.problem(env.Name, "is not set")
			continue
		}
		if err := env.Format.Check(value); err != nil {
			e.problem(env.Name, err.Error())
		}
		switch {
		case env.Format == contract.PostgresURL:
			e.database(env.Name, value)
		case env.From == contract.FromSecret:
			e.secret(env.Name, value)
		}
	}
}

// Required is a value that must be set and not empty.
func (e *Env) Required(name string) string {
	value, set := e.get(name)
	switch {
	case !set:
		e.problem(name, "is not set")
	case value == "":
		e.problem(name, "is empty")
	}
	return value
}

// Check is a required value of a format.
func (e *Env) Check(name string, format contract.Format) string {
	value := e.Required(name)
	if value != "" {
		if err := format.Check(value); err != nil {
			e.problem(name, err.Error())
		}
	}
	return value
}

// Optional is a value that has a harmless default. Empty counts as unset, as it does in the real services.
func (e *Env) Optional(name, fallback string) string {
	if value, _ := e.get(name); value != "" {
		return value
	}
	return fallback
}

// OptionalURL is a URL that may be left out.
func (e *Env) OptionalURL(name string) string {
	value := e.Optional(name, "")
	if value != "" {
		if err := contract.URL.Check(value); err != nil {
			e.problem(name, err.Error())
		}
	}
	return value
}

// Secret is a required value that nobody else may know.
func (e *Env) Secret(name string) string {
	value := e.Required(name)
	if value != "" {
		e.secret(name, value)
	}
	return value
}

// Database is a required PostgreSQL URL.
func (e *Env) Database(name string) string {
	value := e.Required(name)
	if value == "" {
		return ""
	}
	if err := contract.PostgresURL.Check(value); err != nil {
		e.problem(name, err.Error())
		return value
	}
	e.database(name, value)
	return value
}

// Int is a positive number with a default.
func (e *Env) Int(name string, fallback int) int {
	value, _ := e.get(name)
	if value == "" {
		return fallback
	}
	number, err := strconv.Atoi(value)
	if err != nil || number <= 0 {
		e.problem(name, fmt.Sprintf("%q is no positive number", value))
	}
	return number
}

// Port is a port number with a default.
func (e *Env) Port(name string, fallback int) int {
	port := e.Int(name, fallback)
	if port > 65535 {
		e.problem(name, fmt.Sprintf("%d is no port", port))
	}
	return port
}

// File is the name of a file that must exist below the working directory, as images hold it.
func (e *Env) File(name, fallback string) string {
	path := e.Optional(name, fallback)
	if _, err := os.Stat(path); err != nil {
		e.problem(name, fmt.Sprintf("names %s, which can't be read (is the working directory the image's own?)", path))
	}
	return path
}

// Err lists what was wrong with everything that was read.
func (e *Env) Err() error {
	if len(e.problems) == 0 {
		return nil
	}
	return fmt.Errorf("wrong environment: %s", strings.Join(e.problems, "; "))
}

func (e *Env) get(name string) (string, bool) {
	value, set := e.lookup(name)
	if strings.Contains(value, "$(") {
		e.problem(name, "holds a $(NAME) that Kubernetes did not expand: the variable it names must stand before it")
	}
	return value, set
}

func (e *Env) database(name, value string) {
	u, err := url.Parse(value)
	if err != nil {
		return
	}
	switch {
	case strings.Trim(u.Path, "/") == "":
		e.problem(name, "names no database")
	case u.User == nil || u.User.Username() == "":
		e.problem(name, "names no user")
	}
}

func (e *Env) secret(name, value string) {
	if strings.Contains(value, "change-me") {
		e.problem(name, "is the public constant of an example")
	}
	if value != strings.TrimSpace(value) {
		e.problem(name, "begins or ends with white space")
	}
}

func (e *Env) problem(name, what string) {
	if line := name + " " + what; !slices.Contains(e.problems, line) {
		e.problems = append(e.problems, line)
	}
}

// Require reports a rule of one service's own that does not hold.
func (e *Env) Require(name string, rule func() error) {
	if err := rule(); err != nil {
		e.problem(name, err.Error())
	}
}
