package front_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/front"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// closed are the paths that users may not reach where there are no environments outside the cluster.
func closed() front.Paths { return slices.Concat(platform.ClosedPaths(), platform.RemotePaths()) }

func TestOnlyPublicPathsPass(t *testing.T) {
	for _, path := range contract.Paths() {
		want := path.For == contract.Nobody || path.For == contract.RemoteEnvironments
		for _, written := range []string{path.Path, strings.TrimSuffix(path.Path, "/") + "/below", path.Path + "more"} {
			// A longer word is another path.
			want := want && !strings.HasSuffix(written, "more")
			if got := closed().Contain(written); got != want {
				t.Errorf("%s is closed: %t, want %t", written, got, want)
			}
		}
	}
}

func TestNoSpellingOfAClosedPathPasses(t *testing.T) {
	for _, path := range closed() {
		rest := path[1:]
		for _, written := range []string{
			path + "/", "/" + path, "//" + path, path + "//x", "/./" + rest, "/x/.." + path, "/x/%2e%2e" + path, "/x/%2E%2e" + path,
			"/x/%252e%252e" + path, "/x/..%2f" + rest, "/x/..%5c" + rest, "/%2f" + rest, `/\` + rest, "/x/..\\" + rest, "//host" + path,
			"//host/x/.." + path, fmt.Sprintf("/%%%02x%s", rest[0], rest[1:]), fmt.Sprintf("/%%25%02x%s", rest[0], rest[1:]),
			strings.ToUpper(path), path + "%23x", path + "%3fx", path + "/../login", path + "/..", "/%09" + rest, "/webhook/.." + path,
			"/webhook/%2e%2e" + path, "/x/../../.." + path, "/a/b/%2e%2e/%2e%2e" + path, "/;/.." + path,
		} {
			if !closed().Contain(written) {
				t.Errorf("%s passes", written)
			}
		}
	}
	for _, written := range []string{
		"/", "/x/mcp", "/mcpx", "/mcp-servers", "/api/mcp", "/api/files/a%2fmcp", "/s/%E4%BD%A0", "/%", "/api/files/100%25", "/api/x%2525252e",
		"/_proxy/one/8000/metrics", "/env", "/environment", "/svc", "/workspace/v10",
	} {
		if closed().Contain(written) {
			t.Errorf("%s does not pass", written)
		}
	}
}

// Whatever a client writes, a path never passes that a server reads as a closed one by decoding, joining slashes and
// resolving dots, each once.
func FuzzContain(f *testing.F) {
	for _, seed := range []string{"/x/../mcp", "/%6dcp", "//mcp", "/a%2f..%2fmcp", `/\..\mcp`, "/login", "/%23/..%2fmcp", "/%3f/..%2fmcp",
		"/z%2f..%2fmcp%2f%01%2f.."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, written string) {
		if reads(written) && !closed().Contain(written) {
			t.Errorf("%q passes", written)
		}
	})
}

// reads is a server of its own, written in another way than what is tested.
func reads(written string) bool {
	var decoded []byte
	for i := 0; i < len(written); i++ {
		if written[i] == '%' && i+3 <= len(written) {
			if b, err := hex.DecodeString(written[i+1 : i+3]); err == nil {
				decoded = append(decoded, b...)
				i += 2
				continue
			}
		}
		decoded = append(decoded, written[i])
	}
	var kept []string
	for _, segment := range strings.Split(string(decoded), "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	whole := "/" + strings.Join(kept, "/") + "/"
	return slices.ContainsFunc(closed(), func(path string) bool { return strings.HasPrefix(whole, path+"/") })
}
