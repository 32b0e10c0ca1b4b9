package turn

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/pion/stun/v3"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// speaks asks a relay that runs already for the address that it sees, which every relay answers without a password.
func speaks(ctx context.Context, r *requirement.Relay) ([]preflight.Finding, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
	if err != nil {
		return []preflight.Finding{unreached(r, "tcp", r.Port, err)}, nil
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	request, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		return nil, err
	}
	if _, err := request.WriteTo(connection); err != nil {
		return []preflight.Finding{unreached(r, "tcp", r.Port, err)}, nil
	}
	answer := new(stun.Message)
	var seen stun.XORMappedAddress
	if _, err := answer.ReadFrom(connection); err != nil || answer.TransactionID != request.TransactionID || seen.GetFrom(answer) != nil {
		finding := unreached(r, "tcp", r.Port, err)
		finding.Found = "what answers there is no relay: it does not speak STUN"
		return []preflight.Finding{finding}, nil
	}
	return nil, nil
}
