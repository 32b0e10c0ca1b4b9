package secret

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

const configFile = "a configuration file"

// file fills in a configuration file. A value can't end its line: what followed would be settings of their own.
func (k *keeper) file(ctx context.Context, f hook.SecretFile) (string, error) {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		ref := f.Values[name]
		value, err := k.lookup(ctx, ref, configFile)
		if err != nil {
			return "", err
		}
		if strings.ContainsAny(value, "\r\n") {
			return "", k.refuse(finding.SecretsGiven, ref.Secret,
				fmt.Sprintf("the key %s of the Secret %s has a line break, and a configuration file takes it on one line", ref.Key, k.name(ref.Secret)),
				"set another value with "+k.patchCommand(ref.Secret, []string{ref.Key}))
		}
		placeholder := "$(" + name + ")"
		if !strings.Contains(f.Text, placeholder) {
			return "", hook.Errorf(hook.Usage,
				"spec: a configuration file has the value %s and no %s", name, placeholder)
		}
		pairs = append(pairs, placeholder, value)
	}
	return strings.NewReplacer(pairs...).Replace(f.Text), nil
}
