package podexec_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/podexec"
	"github.com/neutree-ai/packaging/internal/podexec/podexectest"
)

// Streams of any size and content arrive whole, and so does the end of the input.
func TestExec(t *testing.T) {
	address := podexectest.Serve(t, "http://127.0.0.1:9", func(command []string, stdin io.Reader, stdout, stderr io.Writer) int {
		fmt.Fprintf(stderr, "%q", command)
		if _, err := io.Copy(stdout, stdin); err != nil {
			return 1
		}
		return 0
	})
	client := podexec.New(&rest.Config{Host: address})
	content := bytes.Repeat([]byte("\x00\x01\xff\n"), 100_000)
	var stdout, stderr bytes.Buffer
	err := client.Exec(t.Context(), "nap", "pod", "main", []string{"cat", "a b"}, bytes.NewReader(content), &stdout, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stdout.Bytes(), content) || stderr.String() != `["cat" "a b"]` {
		t.Errorf("%d bytes arrive, and %s", stdout.Len(), stderr.String())
	}
}

func TestExecThatFails(t *testing.T) {
	address := podexectest.Serve(t, "http://127.0.0.1:9", func(_ []string, _ io.Reader, _, stderr io.Writer) int {
		fmt.Fprintln(stderr, "why")
		return 10
	})
	var stderr bytes.Buffer
	err := podexec.New(&rest.Config{Host: address}).Exec(t.Context(), "nap", "pod", "main", []string{"x"}, nil, nil, &stderr)
	var ended interface{ ExitStatus() int }
	if !errors.As(err, &ended) || ended.ExitStatus() != 10 || stderr.String() != "why\n" {
		t.Errorf("%v: %s", err, stderr.String())
	}
}

func TestExecThatIsNotAllowed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":`+
			`"pods \"pod\" is forbidden: User \"jane\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"nap\""}`)
	}))
	t.Cleanup(server.Close)
	err := podexec.New(&rest.Config{Host: server.URL}).Exec(t.Context(), "nap", "pod", "main", []string{"x"}, nil, io.Discard, io.Discard)
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "jane may not create pods/exec in namespace nap") {
		t.Errorf("%v", err)
	}
}
