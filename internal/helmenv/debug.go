package helmenv

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// traced prints one line for each request to the API server: what was asked, the answer and the time it took. Headers
// and bodies, which contain credentials, are left out.
type traced struct {
	next http.RoundTripper
	log  io.Writer
}

// RoundTrip sends the request on.
func (t *traced) RoundTrip(request *http.Request) (*http.Response, error) {
	start := time.Now()
	response, err := t.next.RoundTrip(request)
	outcome := ""
	if err != nil {
		outcome = err.Error()
	} else {
		outcome = response.Status
	}
	fmt.Fprintf(t.log, "debug: %s %s: %s after %s\n", request.Method, request.URL.Redacted(), outcome,
		time.Since(start).Round(time.Millisecond))
	return response, err
}
