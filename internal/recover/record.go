package recover

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube"
)

// record is one revision as Helm stores it. Only what is changed here has a name: another version of Helm may keep
// fields that this program does not know, and they must come through.
type record map[string]any

// largest bounds what a record may unpack to; Kubernetes stores at most a mebibyte of it packed.
const largest = 64 << 20

// decode unpacks what Helm stores: JSON, packed by gzip, in base64.
func decode(stored string) (record, error) {
	raw, err := base64.StdEncoding.DecodeString(stored)
	if err != nil {
		return nil, fmt.Errorf("it is no base64: %w", err)
	}
	unzip, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("it is not packed by gzip: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(unzip, largest))
	if err != nil {
		return nil, fmt.Errorf("unpack it: %w", err)
	}
	r := record{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	return r, nil
}

// encode packs a record again.
func (r record) encode() (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(text); err != nil {
		return "", err
	}
	if err := zip.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}

func (r record) info(key string) string {
	info, _ := r["info"].(map[string]any)
	text, _ := info[key].(string)
	return text
}

func (r record) setInfo(key, value string) {
	info, ok := r["info"].(map[string]any)
	if !ok {
		info = map[string]any{}
		r["info"] = info
	}
	info[key] = value
}

// stored is the packed record: the content of a Secret is in base64 once more.
func (f *Operation) stored() (string, error) {
	text, _, _ := unstructured.NestedString(f.object.Object, "data", "release")
	if f.kind != kube.Secrets {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("read Secret %s: %w", f.object.GetName(), err)
	}
	return string(raw), nil
}

func encodeSecret(packed string) string { return base64.StdEncoding.EncodeToString([]byte(packed)) }
