// Package mask hides secrets in text, in the forms in which a program may write them.
package mask

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// shortest keeps a short value such as a user name from blackening half the output.
const shortest = 4

// Mask knows what must not be shown.
type Mask struct{ replacer *strings.Replacer }

// Of hides the values, each line of one that has several.
func Of(values ...string) Mask {
	var texts []string
	for _, value := range values {
		for line := range strings.Lines(value) {
			line = strings.TrimSpace(line)
			if len(line) < shortest {
				continue
			}
			quoted, _ := json.Marshal(line)
			texts = append(texts, line, url.QueryEscape(line), url.PathEscape(line),
				strings.TrimPrefix(url.UserPassword("", line).String(), ":"), string(quoted[1:len(quoted)-1]),
				base64.StdEncoding.EncodeToString([]byte(line)))
		}
	}
	// A value that holds another one must go first, or its rest would be shown.
	slices.SortFunc(texts, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, secret := range slices.Compact(texts) {
		pairs = append(pairs, secret, "***")
	}
	return Mask{strings.NewReplacer(pairs...)}
}

// Hide writes three stars for each secret in text, in one pass: there may be thousands.
func (m Mask) Hide(text string) string {
	if m.replacer == nil {
		return text
	}
	return m.replacer.Replace(text)
}
