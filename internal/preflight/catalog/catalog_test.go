package catalog_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
)

func TestChecksAreComplete(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`)
	seen := map[string]bool{}
	var topics []string
	for _, check := range catalog.Checks() {
		if !id.MatchString(check.ID) {
			t.Errorf("%q is no topic, dot and name", check.ID)
		}
		if seen[check.ID] {
			t.Errorf("%s: two checks have this ID", check.ID)
		}
		seen[check.ID] = true
		if check.Title == "" || check.Title[:1] != strings.ToUpper(check.Title[:1]) || check.Run == nil || check.Severity != preflight.Error && check.Severity != preflight.Warning {
			t.Errorf("%s: a title with a capital letter, severity and work must be there: %+v", check.ID, check)
		}
		if len(topics) == 0 || topics[len(topics)-1] != check.Topic() {
			if slices.Contains(topics, check.Topic()) {
				t.Errorf("%s: the topic comes twice", check.ID)
			}
			topics = append(topics, check.Topic())
		}
	}
}

func TestEveryCheckIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/preflight.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, check := range catalog.Checks() {
		if !strings.Contains(page, `<a id="`+check.ID+`"></a>`) {
			t.Errorf("docs/preflight.md has no anchor for %s: put <a id=%q></a> before the section that explains it", check.ID, check.ID)
		}
	}
	for _, anchor := range regexp.MustCompile(`<a id="([^"]+)"></a>`).FindAllStringSubmatch(page, -1) {
		if !slices.ContainsFunc(catalog.Checks(), func(c preflight.Check) bool { return c.ID == anchor[1] }) {
			t.Errorf("docs/preflight.md explains %s, which is no check", anchor[1])
		}
	}
}
