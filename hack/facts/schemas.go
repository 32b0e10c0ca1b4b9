package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// definitionsFile has the definitions that the schemas refer to. A schema can't refer to another file: Helm reads each
// by itself.
const definitionsFile = "hack/facts/definitions.json"

// schema is a values.schema.json. All but its definitions is written by hand.
type schema struct {
	Schema               string                     `json:"$schema"`
	Comment              string                     `json:"$comment"`
	Title                string                     `json:"title"`
	Type                 string                     `json:"type"`
	AdditionalProperties bool                       `json:"additionalProperties"`
	Properties           json.RawMessage            `json:"properties"`
	Required             []string                   `json:"required,omitempty"`
	Definitions          map[string]json.RawMessage `json:"definitions,omitempty"`
}

// addSchemas adds the schema of each chart, with the definitions that it uses.
func addSchemas(files map[string][]byte) error {
	all := map[string]json.RawMessage{}
	if err := readJSON(definitionsFile, &all); err != nil {
		return err
	}
	if err := addPieces(all); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(chart, "charts", "*", "values.schema.json"))
	if err != nil {
		return err
	}
	for _, path := range append(paths, filepath.Join(chart, "values.schema.json")) {
		if filepath.Base(filepath.Dir(path)) == "cloudnative-pg" {
			continue
		}
		var s schema
		if err := readJSON(path, &s); err != nil {
			return err
		}
		s.Comment = "make generate writes the definitions, from " + definitionsFile
		s.Definitions = map[string]json.RawMessage{}
		if err := collect(s.Properties, all, s.Definitions); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if files[path], err = format(s); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

var reference = regexp.MustCompile(`"\$ref": *"#/definitions/([^"]+)"`)

// collect adds the definitions that a part of a schema refers to, and those that these refer to.
func collect(part json.RawMessage, all, into map[string]json.RawMessage) error {
	for _, match := range reference.FindAllSubmatch(part, -1) {
		name := string(match[1])
		if _, known := into[name]; known {
			continue
		}
		definition, found := all[name]
		if !found {
			return fmt.Errorf("%s has no definition %q", definitionsFile, name)
		}
		into[name] = definition
		if err := collect(definition, all, into); err != nil {
			return err
		}
	}
	return nil
}

// short is an object with one plain member, such as a reference.
var short = regexp.MustCompile(`\{\n\s+("[^"\n]+": [^\n{}\[\]]+)\n\s+\}`)

var lineBreak = regexp.MustCompile(`\n\s+`)

// words is a list of plain strings, such as required keys.
var words = regexp.MustCompile(`\[\n\s+"[^"\n]*"(,\n\s+"[^"\n]*")*\n\s+\]`)

// join puts a list on one line, if it is short.
func join(list []byte) []byte {
	joined := lineBreak.ReplaceAll(list, []byte(" "))
	joined = bytes.ReplaceAll(bytes.ReplaceAll(joined, []byte("[ "), []byte("[")), []byte(" ]"), []byte("]"))
	if len(joined) > 80 {
		return list
	}
	return joined
}

// format indents a schema, with short objects and lists on one line. Its generated definitions follow with
// one on each line.
func format(s schema) ([]byte, error) {
	definitions := s.Definitions
	s.Definitions = nil
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(s); err != nil {
		return nil, err
	}
	text := words.ReplaceAllFunc(short.ReplaceAll(out.Bytes(), []byte("{$1}")), join)
	if len(definitions) == 0 {
		return text, nil
	}
	out.Reset()
	out.Write(bytes.TrimSuffix(text, []byte("\n}\n")))
	separator := ",\n  \"definitions\": {\n"
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		fmt.Fprintf(&out, "%s    %q: ", separator, name)
		if err := json.Compact(&out, definitions[name]); err != nil {
			return nil, err
		}
		separator = ",\n"
	}
	out.WriteString("\n  }\n}\n")
	return out.Bytes(), nil
}
