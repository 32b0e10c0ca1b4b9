package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

func writeJSON(to io.Writer, document Document) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// templateWriter fills in a template with the document as it is in JSON, with Sprig's functions.
func templateWriter(name, argument string) (func(io.Writer, Document) error, error) {
	if argument == "" {
		return nil, fmt.Errorf("--output=%s needs an argument: %s={{range .results}}{{.id}} {{.status}}{{\"\\n\"}}{{end}}, or go-template-file=FILE", name, name)
	}
	if name == "go-template-file" {
		raw, err := os.ReadFile(argument)
		if err != nil {
			return nil, fmt.Errorf("read the template: %w", err)
		}
		argument = string(raw)
	}
	functions := sprig.TxtFuncMap()
	// A template that somebody else wrote has no business with the environment, which may hold passwords.
	delete(functions, "env")
	delete(functions, "expandenv")
	parsed, err := template.New("output").Option("missingkey=error").Funcs(functions).Parse(argument)
	if err != nil {
		return nil, fmt.Errorf("read the template of --output: %w", err)
	}
	return func(to io.Writer, document Document) error {
		var raw bytes.Buffer
		if err := writeJSON(&raw, document); err != nil {
			return err
		}
		var fields map[string]any
		if err := json.Unmarshal(raw.Bytes(), &fields); err != nil {
			return err
		}
		if err := parsed.Execute(to, fields); err != nil {
			return fmt.Errorf("fill in the template of --output: %w", err)
		}
		return nil
	}, nil
}
