// Package plain makes text from clusters, files and registries safe to print. Anyone who can write an event, a log line or a
// registry's answer could otherwise move the cursor of an operator's terminal, or hide and reorder what it shows.
package plain

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s with each character that a terminal would act on written out: escape as ^[, other control characters
// likewise, bidirectional controls, invisible format characters and bytes that are not UTF-8 by their number. Line breaks
// and tabs stay, and so does the joiner that scripts and emoji need.
func Text(s string) string {
	if strings.IndexFunc(s, acts) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && isBroken(s[i:]):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !acts(r):
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			b.WriteByte('^')
			b.WriteByte(byte(r) ^ 0x40)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// acts says whether a terminal does something else with r than to show it.
func acts(r rune) bool {
	switch r {
	case '\n', '\t', '\u200c', '\u200d':
		return false
	case '\u2028', '\u2029':
		return true
	}
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r)
}

// isBroken distinguishes a byte that is not UTF-8 from the replacement character itself.
func isBroken(s string) bool {
	_, size := utf8.DecodeRuneInString(s)
	return size == 1
}

// Writer returns a writer to w whose every Write is cleaned as by Text. A Write must not end within a character, as those
// of package fmt and text/tabwriter do not.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

// Write reports the length of what it was given: what it writes may be longer.
func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
