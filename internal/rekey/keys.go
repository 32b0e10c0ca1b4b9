package rekey

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/secret"
)

// ReadKeys reads the folder where the Secret with the keys is mounted: the new key, and all others.
func ReadKeys(dir string) (next string, known []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, hook.Errorf(hook.Usage, "read the keys: %w", err)
	}
	for _, entry := range entries {
		// Kubernetes keeps what it mounts in folders of such names.
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		key, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", nil, hook.Errorf(hook.Usage, "read the keys: %w", err)
		}
		if entry.Name() == secret.NewKey {
			next = string(key)
			continue
		}
		known = append(known, string(key))
	}
	if next == "" || len(known) == 0 {
		return "", nil, hook.Errorf(hook.Usage, "%s lacks the new key or an old one", dir)
	}
	return next, known, nil
}
