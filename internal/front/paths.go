package front

import (
	"path"
	"regexp"
	"slices"
	"strconv"
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
		decoded := unescaped(escaped)
		if decoded == escaped {
			return false
		}
		escaped = decoded
	}
	return slices.ContainsFunc(readings(escaped), p.contain)
}

var escape = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// unescaped decodes what can be decoded. A server that refuses the rest does no harm.
func unescaped(text string) string {
	return escape.ReplaceAllStringFunc(text, func(coded string) string {
		decoded, err := strconv.ParseUint(coded[1:], 16, 8)
		if err != nil {
			return coded
		}
		return string([]byte{byte(decoded)})
	})
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
	found := []string{undoubled(text), path.Clean("/" + text)}
	// Browsers and Node.js take "\" for "/", leave out line breaks and tabs, and end a path at "#" or "?". Others do none of
	// this, or only some.
	slashes := strings.ReplaceAll(text, `\`, "/")
	printed := strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, slashes)
	ended := printed
	if end := strings.IndexAny(ended, "#?"); end >= 0 {
		ended = ended[:end]
	}
	for _, text := range []string{slashes, printed, ended} {
		found = append(found, local(text)...)
	}
	return found
}

// local are the paths that a text can mean on a server.
func local(text string) []string {
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
