package chart_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// accepted are the critical findings of kube-score that stay, each with the reason, and the ends of the names of the
// objects they stay for; none stands for all.
var accepted = map[string]struct {
	reason  string
	objects []string
}{
	"container-ephemeral-storage-request-and-limit": {reason: "root file systems are read-only, and a limit would evict a service for the length of its log"},
	"container-security-context-user-group-id":      {reason: "images are made for the user 1000, 1001 or 65534, and can't be run by one above 10000"},
	"container-image-pull-policy":                   {reason: "tags are pinned, and a registry that is away must not keep a pod from starting again"},
	"pod-probes-identical":                          {reason: "a service has one path that tells its health; readiness ends after 6 seconds of silence, and life after 60"},
	"networkpolicy-targets-pod": {"these pods are made by the operator and by the runner",
		[]string{"-pg", "-workspaces", "-operator"}},
	"container-security-context-readonlyrootfilesystem": {"LibreOffice and Chromium keep their profiles in several places",
		[]string{"-office-converter"}},
	"container-image-tag": {"AFS publishes no release tags", []string{"afs-controller"}},
}

// kubeScore builds the tool that hack/kube-score pins: its libraries want a Kubernetes older than ours.
var kubeScore = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(umbrella), "kube-score")
	build := exec.Command("go", "build", "-C", "../../hack/kube-score", "-o", program, "github.com/zegl/kube-score/cmd/kube-score")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return program, nil
})

// finding is what kube-score holds against one object.
type finding struct {
	ObjectName string                `json:"object_name"`
	ObjectMeta struct{ Name string } `json:"object_meta"`
	Checks     []struct {
		Check    struct{ ID string } `json:"check"`
		Grade    int                 `json:"grade"`
		Skipped  bool                `json:"skipped"`
		Comments []struct{ Path, Summary string }
	} `json:"checks"`
}

// The grades of kube-score, of which a better one is a higher number.
const (
	critical = 1
	warning  = 5
)

func TestKubeScoreFindsNothingCritical(t *testing.T) {
	program, err := kubeScore()
	if err != nil {
		t.Fatalf("build kube-score: %v", err)
	}
	seen := map[string]bool{}
	for name, to := range profiles(t) {
		var input strings.Builder
		for _, object := range ours(renderFor(t, to).Objects) {
			input.WriteString("---\n" + object.YAML + "\n")
		}
		command := exec.Command(program, "score", "--kubernetes-version", "v1.28", "--output-format", "json", "-")
		command.Stdin = strings.NewReader(input.String())
		out, err := command.Output()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || len(out) == 0) {
			t.Fatalf("%s: kube-score: %v", name, err)
		}
		var findings []finding
		if err := json.Unmarshal(out, &findings); err != nil {
			t.Fatalf("%s: kube-score: %v", name, err)
		}
		criticals, warnings := 0, 0
		for _, object := range findings {
			for _, check := range object.Checks {
				switch {
				case check.Skipped || check.Grade > warning:
					continue
				case check.Grade > critical:
					warnings++
					continue
				}
				criticals++
				known, listed := accepted[check.Check.ID]
				if !listed || known.objects != nil && !slices.ContainsFunc(known.objects, func(end string) bool { return strings.HasSuffix(object.ObjectMeta.Name, end) }) {
					t.Errorf("%s: %s: %s: %v", name, object.ObjectName, check.Check.ID, check.Comments)
				}
				seen[check.Check.ID] = true
			}
		}
		t.Logf("%s: %d objects, %d critical findings, all with a reason, and %d warnings", name, len(findings), criticals, warnings)
	}
	for id := range accepted {
		if !seen[id] {
			t.Errorf("nothing fails %s: drop the exception", id)
		}
	}
}
