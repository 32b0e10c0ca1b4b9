package rekey

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/secret"
)

// ReadKeys reads the folder where the Secret with the keys is mounted: the new key, and all others. They have to be
// those of the mark, unless that is "".
func ReadKeys(dir, mark string) (next string, known []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, hook.Errorf(hook.Usage, "read the keys: %w", err)
	}
	keys := map[string][]byte{}
	for _, entry := range entries {
		// Kubernetes keeps what it mounts in folders of such names.
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		key, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", nil, hook.Errorf(hook.Usage, "read the keys: %w", err)
		}
		keys[entry.Name()] = key
	}
	version := mark[:max(strings.LastIndex(mark, "."), 0)]
	if mark != "" && secret.MarkKeys(version, keys) != mark {
		// Another pod gets the current ones. An earlier pod of this Job may have had them.
		return "", nil, hook.Errorf(hook.Unexpected, "the node has mounted another version of the Secret with the keys than "+
			"the one of this rotation")
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if name == secret.NewKey {
			next = string(keys[name])
			continue
		}
		known = append(known, string(keys[name]))
	}
	if next == "" || len(known) == 0 {
		return "", nil, hook.Errorf(hook.Usage, "%s lacks the new key or an old one", dir)
	}
	return next, known, nil
}
