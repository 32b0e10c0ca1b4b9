package seed

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
)

// shortestMasked keeps a short value such as a user name from blackening half the output.
const shortestMasked = 4

// masks lists the texts that must not be shown: the values of variables whose names tell of a
// secret, the password in a URL, and the forms in which a program may write them.
func masks(env map[string]string) []string {
	var secrets []string
	add := func(value string) {
		for line := range strings.Lines(value) {
			line = strings.TrimSpace(line)
			if len(line) < shortestMasked {
				continue
			}
			quoted, _ := json.Marshal(line)
			secrets = append(secrets, line, url.QueryEscape(line), url.PathEscape(line), strings.Trim(string(quoted), `"`))
		}
	}
	for name, value := range env {
		if secretName(name) {
			add(value)
		}
		if u, err := url.Parse(value); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				add(password)
				add(strings.TrimPrefix(u.User.String(), url.User(u.User.Username()).String()+":"))
			}
		}
	}
	// A value that holds another one must go first, or its rest would be shown.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(secrets)
}

func secretName(name string) bool {
	name = strings.ToUpper(name)
	if name == "DATABASE_URL" {
		return true
	}
	for _, part := range []string{"PASSWORD", "SECRET", "TOKEN", "KEY"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// maskingWriter passes whole lines on, without the secrets in them.
type maskingWriter struct {
	to      io.Writer
	secrets []string
	rest    []byte
	last    string
}

// Write never fails for want of a line's end: it keeps what is incomplete.
func (w *maskingWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(w.rest[:i+1])
		w.rest = w.rest[i+1:]
		if err := w.line(line); err != nil {
			return len(p), err
		}
	}
}

func (w *maskingWriter) line(line string) error {
	for _, secret := range w.secrets {
		line = strings.ReplaceAll(line, secret, "***")
	}
	if text := strings.TrimSpace(line); text != "" {
		w.last = text
	}
	_, err := io.WriteString(w.to, line)
	return err
}

func (w *maskingWriter) flush() {
	if len(w.rest) > 0 {
		_ = w.line(string(w.rest) + "\n")
		w.rest = nil
	}
}
