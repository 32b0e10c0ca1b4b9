package seed

import (
	"strings"
	"testing"
)

func TestMasks(t *testing.T) {
	env := map[string]string{
		"DATABASE_URL":   "postgresql://nap:p%40ss%2Fw@db:5432/nap",
		"ADMIN_PASSWORD": "two words&",
		"API_KEY":        "line one\nline two",
		"TURN_SECRET":    "abc",
		"ADMIN_USERNAME": "administrator",
	}
	for said, want := range map[string]string{
		"url postgresql://nap:p%40ss%2Fw@db:5432/nap": "url ***",
		"decoded p@ss/w, coded p%40ss%2Fw":            "decoded ***, coded ***",
		"plain two words&, query two+words%26":        "plain ***, query ***",
		`json "two words\u0026"`:                      `json "***"`,
		"key line two":                                "key ***",
		"administrator abc":                           "administrator abc",
	} {
		var out strings.Builder
		w := &maskingWriter{to: &out, secrets: masks(env)}
		// A secret may come in two writes.
		for _, part := range []string{said[:len(said)/2], said[len(said)/2:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		w.flush()
		if got := strings.TrimSuffix(out.String(), "\n"); got != want {
			t.Errorf("%q became %q, want %q", said, got, want)
		}
	}
}
