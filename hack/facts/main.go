// Command facts writes what several charts share and none can read from another: the facts about the platform's
// services, as a named template of the library chart, and the schema definitions in each chart's values.schema.json.
// With --check it only says whether the files are up to date.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/platform"
)

const chart = "charts/neutree"

func main() {
	check := flag.Bool("check", false, "fail when a file is out of date, and leave it")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "facts: "+err.Error())
		os.Exit(1)
	}
}

func run(check bool) error {
	facts, err := factsTemplate()
	if err != nil {
		return err
	}
	files := map[string][]byte{filepath.Join(chart, "charts", "common", "templates", "_facts.tpl"): facts}
	if files[filepath.Join(chart, "templates", "_defaults.tpl")], err = defaultsTemplate(); err != nil {
		return err
	}
	if err := addSchemas(files); err != nil {
		return err
	}
	var stale []error
	for path, content := range files {
		if !check {
			stale = append(stale, os.WriteFile(path, content, 0o644))
			continue
		}
		kept, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if !bytes.Equal(kept, content) {
			stale = append(stale, fmt.Errorf("%s is out of date: run make generate", path))
		}
	}
	slices.SortFunc(stale, func(a, b error) int { return bytes.Compare(text(a), text(b)) })
	return errors.Join(stale...)
}

func text(err error) []byte { return fmt.Append(nil, err) }

// factsTemplate is the named template that yields the facts, as JSON: templates read them more than a hundred times, and
// YAML takes ten times as long to read.
func factsTemplate() ([]byte, error) {
	facts, err := json.Marshal(platform.ChartFacts())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(`{{/*
Facts about the platform's services. Written by make generate from internal/platform: change them there.
Usage: $facts := include "common.facts" . | fromJson
*/}}
{{- define "common.facts" -}}
`)
	if err := writeObject(&out, facts, ""); err != nil {
		return nil, err
	}
	out.WriteString("\n{{- end }}\n")
	return out.Bytes(), nil
}

// ownKeys are the chart's own values, whose defaults Helm keeps from the templates. Those of the subcharts need none: a
// subchart's own values.yaml fills in what is missing.
var ownKeys = []string{"extraObjects", "global", "uninstall"}

// defaultsTemplate is the named template that yields the chart's own values, as JSON.
func defaultsTemplate() ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("values.yaml: %w", err)
	}
	maps.DeleteFunc(values, func(key string, _ any) bool { return !slices.Contains(ownKeys, key) })
	defaults, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(`{{/*
The chart's own values as they are in values.yaml. Written by make generate.
Usage: $defaults := include "neutree.defaults" . | fromJson
*/}}
{{- define "neutree.defaults" -}}
`)
	if err := writeObject(&out, defaults, ""); err != nil {
		return nil, err
	}
	out.WriteString("\n{{- end }}\n")
	return out.Bytes(), nil
}

// writeObject writes a JSON object with a line for each key, down to the keys of a service, and for each entry of a list.
func writeObject(out *bytes.Buffer, object json.RawMessage, indent string) error {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	out.WriteString("{")
	for separator := "\n"; decoder.More(); separator = ",\n" {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s%s  %q: ", separator, indent, key)
		switch {
		case value[0] == '{' && len(indent) < 4:
			err = writeObject(out, value, indent+"  ")
		case bytes.HasPrefix(value, []byte("[{")):
			err = writeList(out, value, indent+"  ")
		default:
			out.Write(value)
		}
		if err != nil {
			return err
		}
	}
	out.WriteString("\n" + indent + "}")
	return nil
}

func writeList(out *bytes.Buffer, list json.RawMessage, indent string) error {
	var entries []json.RawMessage
	if err := json.Unmarshal(list, &entries); err != nil {
		return err
	}
	out.WriteString("[")
	for i, entry := range entries {
		if i > 0 {
			out.WriteString(",")
		}
		fmt.Fprintf(out, "\n%s  %s", indent, entry)
	}
	out.WriteString("\n" + indent + "]")
	return nil
}
