package helmrecord_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/helmrecord"
)

func object(data string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"data": map[string]any{"release": data}}}
}

func TestARecordComesBack(t *testing.T) {
	for _, kind := range helmrecord.Kinds() {
		packed, err := helmrecord.Encode(map[string]any{"large": 9007199254740993}, kind)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := helmrecord.Decode(object(packed), kind, &got); err != nil || fmt.Sprint(got) != "map[large:9007199254740993]" {
			t.Errorf("in %s: %v, %v", kind.Resource, got, err)
		}
	}
}

func TestWhatIsNoRecord(t *testing.T) {
	for _, kind := range helmrecord.Kinds() {
		for _, stored := range []string{"%", "bm90IHBhY2tlZA==", "Ym05MElIQmhZMnRsWkE9PQ==", ""} {
			var got any
			if err := helmrecord.Decode(object(stored), kind, &got); err == nil {
				t.Errorf("%q in %s is taken for %v", stored, kind.Resource, got)
			}
		}
	}
}
