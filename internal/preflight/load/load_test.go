package load

import (
	"testing"

	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// An admission policy that asks for labels of everything asks for those of probes too.
func TestProbesHaveTheCommonLabels(t *testing.T) {
	config := probeConfig(nil, requirementtest.Load(t, "global.commonLabels.team=platform"))
	if config.Labels["team"] != "platform" || config.Image == "" {
		t.Errorf("probes have labels %v and image %q", config.Labels, config.Image)
	}
	if config := probeConfig(nil, requirementtest.Load(t)); len(config.Labels) > 0 {
		t.Errorf("without common labels probes have %v", config.Labels)
	}
}
