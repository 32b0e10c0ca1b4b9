package bootstrap

import (
	"context"
	"fmt"
	"net/url"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
)

// authority makes DatabaseURL name a file with the certificate of the operator's authority. The operator makes its Secret
// some seconds after the Cluster, while this pod runs: a volume would show it up to two minutes later.
func (b *Bootstrap) authority(ctx context.Context) error {
	ref := b.Spec.Database.Authority
	if ref == nil {
		return nil
	}
	var certificate []byte
	what := fmt.Sprintf("key %s of Secret %s, which the CloudNativePG operator makes", ref.Key, ref.Secret)
	err := hook.Poll(ctx, b.Log, what, func(ctx context.Context) (bool, string, error) {
		secret, err := kube.Get[corev1.Secret](ctx, b.Client, kube.Secrets, b.Spec.Namespace, ref.Secret)
		switch {
		case apierrors.IsNotFound(err):
			return false, "it does not exist", nil
		case kube.Permanent(err):
			return false, "", kube.Refused(err, "read Secret %s in namespace %s", ref.Secret, b.Spec.Namespace)
		case err != nil:
			return false, kube.Brief(err), nil
		}
		certificate = secret.Data[ref.Key]
		return len(certificate) > 0, "it is empty", nil
	})
	if err != nil {
		return err
	}
	u, err := url.Parse(b.DatabaseURL)
	if err != nil {
		return hook.Errorf(hook.Usage, "DATABASE_URL is no URL")
	}
	file, err := os.CreateTemp("", "database-ca-*.crt")
	if err != nil {
		return fmt.Errorf("write the certificate of the database's authority: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Write(certificate); err != nil {
		return fmt.Errorf("write the certificate of the database's authority: %w", err)
	}
	query := u.Query()
	query.Set("sslrootcert", file.Name())
	u.RawQuery = platform.Query(query)
	b.DatabaseURL = u.String()
	return nil
}
