package sandbox

import (
	"net/http"
	"net/http/httputil"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
)

// show leads to a port of a sandbox. Whoever knows the name may see it.
func (s *server) show(w http.ResponseWriter, r *http.Request, id, port string) {
	found, err := s.find(r.Context(), id, port)
	if err != nil {
		httpserver.Error(w, http.StatusBadGateway, "OpenSandbox: "+err.Error())
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(out *httputil.ProxyRequest) {
			out.Out.URL.Scheme, out.Out.URL.Host = "http", found.Endpoint
			out.Out.Host = out.In.Host
			out.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			httpserver.Error(w, http.StatusBadGateway, "the sandbox does not answer: "+err.Error())
		},
	}
	proxy.ServeHTTP(w, r)
}
