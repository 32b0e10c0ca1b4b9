package dump_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/test/dump"
	"github.com/neutree-ai/packaging/test/dump/dumptest"
)

func TestDumpHoldsNoSecretValue(t *testing.T) {
	folder := t.TempDir()
	if err := dump.Write(t.Context(), dumptest.New(t), folder, &dump.Secrets{}); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	if err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		files[name] = string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, text := range files {
		names = append(names, name)
		for _, canary := range dumptest.Canaries() {
			if strings.Contains(text, canary) {
				t.Errorf("%s holds %q:\n%s", name, canary, text)
			}
		}
		if strings.Contains(text, "managedFields") {
			t.Errorf("%s holds managed fields:\n%s", name, text)
		}
	}
	slices.Sort(names)
	want := []string{
		"events.txt", "logs/nap/cp/main.log", "logs/nap/cp/main.previous.log",
		"objects/_cluster/Node.yaml", "objects/nap/Pod.yaml", "objects/nap/Secret.yaml",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files:\n%s", diff)
	}
	for name, words := range map[string][]string{
		"events.txt":              {"03:04:05 Warning Pod nap/cp Failed (1): exec probe said ***"},
		"logs/nap/cp/main.log":    {"postgres://nap:***@nap-pg/nap", "admin is ready"},
		"objects/nap/Secret.yaml": {"name: database", "- password", "- tls.key", "type: Opaque"},
		"objects/nap/Pod.yaml":    {"value: admin-of-the-database", "name: cp"},
	} {
		for _, word := range words {
			if !strings.Contains(files[name], word) {
				t.Errorf("%s does not hold %q:\n%s", name, word, files[name])
			}
		}
	}
}

func TestWatchedSecretsAreMasked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var secrets dump.Secrets
	ended := make(chan error, 1)
	go func() { ended <- secrets.Watch(ctx, kubernetes.NewForConfigOrDie(dumptest.New(t))) }()
	if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		return !strings.Contains(secrets.Mask().Hide(dumptest.Leaky()), "canary-password"), nil
	}); err != nil {
		t.Fatal(err)
	}
	text := secrets.Mask().Hide(dumptest.Leaky())
	for _, canary := range dumptest.Canaries() {
		if strings.Contains(text, canary) {
			t.Errorf("%q is shown:\n%s", canary, text)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNothingIsWrittenWithoutTheSecrets(t *testing.T) {
	folder := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := dump.Write(ctx, &rest.Config{Host: "http://127.0.0.1:1"}, folder, &dump.Secrets{})
	if err == nil || !strings.Contains(err.Error(), "read the Secrets that must not be shown") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("written: %v", left)
	}
}
