// Package converter plays gotenberg, which turns office documents into PDF.
package converter

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/device"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

// Run is the converter from boot to SIGTERM. It knows only the flags that it has use for, so that a
// misspelt one is found.
func Run(p *process.Process) error {
	flags := flag.NewFlagSet("gotenberg", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	port := flags.Int("api-port", 3000, "")
	flags.Duration("api-timeout", 30*time.Second, "")
	flags.String("log-level", "info", "")
	if err := flags.Parse(p.Args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	// It works on files in the temporary directory.
	if err := device.CheckWritable("/tmp"); err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", httpserver.Health)
	p.Log.Info("listening", "port", *port)
	return httpserver.Serve(ctx, *port, mux)
}
