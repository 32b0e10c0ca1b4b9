package main

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/front"
	"github.com/neutree-ai/packaging/internal/hook"
)

func newFrontCommand(o *hook.Options) *cobra.Command {
	var listen, to string
	var closed []string
	var drain time.Duration
	cmd := &cobra.Command{
		Use:   "front --listen ADDRESS --to URL [--closed PATH]...",
		Short: "Pass requests on to the control plane, except those for closed paths, until stopped",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.Serve(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				target, err := url.Parse(to)
				if err != nil || target.Host == "" {
					return hook.Errorf(hook.Usage, "--to must be a URL such as http://127.0.0.1:3000, not %q", to)
				}
				listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
				if err != nil {
					return hook.Errorf(hook.Usage, "--listen: %w", err)
				}
				server := &front.Front{Log: log, To: target, Closed: closed, Drain: drain}
				return server.Serve(ctx, listener)
			})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "address and port to listen on, such as :3080")
	cmd.Flags().StringVar(&to, "to", "", "URL of the control plane")
	cmd.Flags().StringArrayVar(&closed, "closed", nil, "path that is not passed on, nor any below it; may be given again")
	cmd.Flags().DurationVar(&drain, "drain", 0, "take new requests for this long after being stopped")
	requireFlags(cmd, "listen", "to")
	return cmd
}
