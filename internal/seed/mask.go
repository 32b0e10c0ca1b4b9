package seed

import (
	"bytes"
	"io"
	"net/url"
	"strings"

	"github.com/neutree-ai/packaging/internal/mask"
)

// masks hides the values of variables whose names tell of a secret, and the password in a URL.
func masks(env map[string]string) mask.Mask {
	var secrets []string
	for name, value := range env {
		if secretName(name) {
			secrets = append(secrets, value)
		}
		if u, err := url.Parse(value); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				secrets = append(secrets, password, strings.TrimPrefix(u.User.String(), url.User(u.User.Username()).String()+":"))
			}
		}
	}
	return mask.Of(secrets...)
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
	secrets mask.Mask
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
	line = w.secrets.Hide(line)
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
