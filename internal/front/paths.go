package front

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// Paths are those that are closed, each with all that is below it.
type Paths []string

// decodings is how many times a path is decoded: a server, and a router in it, do so once each.
const decodings = 3

// Contain says whether some server could take a path, as it is written in a request, for a closed one. The control plane
// decodes letters and resolves dots before it routes, and may be built with another router tomorrow, so every usual way
// to read a path counts.
func (p Paths) Contain(escaped string) bool {
	for range decodings {
		if slices.ContainsFunc(readings(escaped), p.contain) {
			return true
		}
		decoded, err := url.PathUnescape(escaped)
		if err != nil || decoded == escaped {
			return false
		}
		escaped = decoded
	}
	return slices.ContainsFunc(readings(escaped), p.contain)
}

// contain goes by whole segments, as the router does.
func (p Paths) contain(plain string) bool {
	return slices.ContainsFunc(p, func(closed string) bool {
		return strings.EqualFold(plain, closed) ||
			len(plain) > len(closed) && plain[len(closed)] == '/' && strings.EqualFold(plain[:len(closed)], closed)
	})
}

// readings are what a server can make of a path that it has decoded as far as it does.
func readings(text string) []string {
	// Browsers and Node.js take "\" for "/", leave out line breaks and tabs, and end a path at "#" or "?".
	text, _, _ = strings.Cut(text, "#")
	text, _, _ = strings.Cut(text, "?")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case r < ' ':
			return -1
		}
		return r
	}, text)
	found := []string{undoubled(text), path.Clean("/" + text)}
	if rest, is := strings.CutPrefix(text, "//"); is {
		// What follows two slashes can be read as the name of a host.
		_, rest, _ = strings.Cut(rest, "/")
		found = append(found, undoubled(rest), path.Clean("/"+rest))
	}
	return found
}

// undoubled leaves out empty segments and those that are one dot, and resolves nothing.
func undoubled(text string) string {
	segments := slices.DeleteFunc(strings.Split(text, "/"), func(s string) bool { return s == "" || s == "." })
	return "/" + strings.Join(segments, "/")
}
