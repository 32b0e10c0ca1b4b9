// Package helmrecord reads and writes what Helm stores of a revision: JSON, packed by gzip, in base64.
package helmrecord

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
)

// largest bounds what a record may unpack to; Kubernetes stores at most a mebibyte of it packed.
const largest = 64 << 20

// Kinds are what Helm stores records in.
func Kinds() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{kube.Secrets, kube.ConfigMaps}
}

// Of selects the records of a release.
func Of(release string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: "owner=helm,name=" + release}
}

// Decode unpacks the record in an object of one of Kinds into a value.
func Decode(object *unstructured.Unstructured, kind schema.GroupVersionResource, into any) error {
	text, _, _ := unstructured.NestedString(object.Object, "data", "release")
	if kind == kube.Secrets {
		// The content of a Secret is in base64 again.
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", object.GetName(), err)
		}
		text = string(raw)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("it is no base64: %w", err)
	}
	unzip, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("it is not packed by gzip: %w", err)
	}
	unpacked, err := io.ReadAll(io.LimitReader(unzip, largest))
	if err != nil {
		return fmt.Errorf("unpack it: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(unpacked))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	return nil
}

// Encode packs a record for the data of an object of one of Kinds.
func Encode(record any, kind schema.GroupVersionResource) (string, error) {
	text, err := json.Marshal(record)
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
	encoded := base64.StdEncoding.EncodeToString(packed.Bytes())
	if kind == kube.Secrets {
		encoded = base64.StdEncoding.EncodeToString([]byte(encoded))
	}
	return encoded, nil
}
