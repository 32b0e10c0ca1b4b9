package offsite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Escrow is what a backup needs to be of use in another cluster, and what must stay secret: the release's Secrets and
// values.
type Escrow struct {
	// Format is the version of the format of copies.
	Format int `json:"format"`
	// Time is when it was read, which is when the backup was copied. A Secret may have changed since the backup was
	// made.
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Release   string    `json:"release"`
	// Chart and Revision are those of the release that had the values.
	Chart    string `json:"chart"`
	Revision int    `json:"revision"`
	// Secrets are the Secrets, with the keys that the chart knows and can't make out of others.
	Secrets []EscrowSecret `json:"secrets"`
	// Missing are keys that were not there, as <Secret>/<key>, sorted.
	Missing []string `json:"missing,omitempty"`
	// Values are all values of the release, the chart's defaults among them, as YAML.
	Values string `json:"values"`
}

// EscrowSecret is one Secret.
type EscrowSecret struct {
	Name   string            `json:"name"`
	Type   string            `json:"type,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Existing marks one that a user gave, by the chart value Value.
	Existing bool              `json:"existing,omitempty"`
	Value    string            `json:"value,omitempty"`
	Data     map[string][]byte `json:"data"`
}

// validate refuses what is no escrow of the copy. Names in it become names of objects.
func (e Escrow) validate(m Manifest) error {
	if e.Format > Format {
		return hook.Refusef(finding.OffsiteFormat, "use the newest version of the plugin",
			"the escrow of backup %s has format %d, and this program knows formats up to %d", m.Backup.Name, e.Format, Format)
	}
	for _, secret := range e.Secrets {
		bad := len(validation.IsDNS1123Subdomain(secret.Name)) > 0
		for key := range secret.Data {
			bad = bad || len(validation.IsConfigMapKey(key)) > 0
		}
		if bad {
			return hook.Refusef(finding.OffsiteDamaged, "use another copy",
				"the escrow of backup %s has a Secret with a name or key that Kubernetes does not admit", m.Backup.Name)
		}
	}
	return nil
}

// readEscrow reads the Secrets and values where the Job has them mounted. What is not there is noted: a Secret may have
// been deleted, and is no reason to have no backup.
func readEscrow(spec hook.EscrowSpec, e Escrow) (Escrow, error) {
	e.Format, e.Time = Format, time.Now().UTC().Truncate(time.Second)
	for _, s := range spec.Secrets {
		secret := EscrowSecret{Name: s.Name, Type: s.Type, Labels: s.Labels, Existing: s.Existing, Value: s.Value,
			Data: map[string][]byte{}}
		for _, key := range s.Keys {
			content, err := os.ReadFile(filepath.Join(spec.Dir, s.Name, key))
			if errors.Is(err, fs.ErrNotExist) {
				e.Missing = append(e.Missing, s.Name+"/"+key)
				continue
			}
			if err != nil {
				return e, fmt.Errorf("read the key %s of Secret %s: %w", key, s.Name, err)
			}
			secret.Data[key] = content
		}
		if len(secret.Data) > 0 {
			e.Secrets = append(e.Secrets, secret)
		}
	}
	slices.Sort(e.Missing)
	values, err := os.ReadFile(spec.Values)
	if errors.Is(err, fs.ErrNotExist) {
		return e, hook.Refusef(finding.OffsiteEscrow, "make the copy by a backup after the upgrade that sets these values",
			"the release's values are not there to be saved: their Secret comes with an upgrade, and there was none yet")
	}
	if err != nil {
		return e, fmt.Errorf("read the release's values: %w", err)
	}
	e.Values = string(values)
	return e, e.readRevision(filepath.Dir(spec.Values))
}

// readRevision reads which chart and revision had the values. Before an upgrade these are not the Job's own: the values
// are in the cluster as the previous revision had them.
func (e *Escrow) readRevision(dir string) error {
	for name, set := range map[string]func(string) error{
		"chart":    func(text string) error { e.Chart = text; return nil },
		"revision": func(text string) (err error) { e.Revision, err = strconv.Atoi(text); return err },
	} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = set(strings.TrimSpace(string(content)))
		}
		if err != nil {
			return fmt.Errorf("read the %s that the release's values are of: %w", name, err)
		}
	}
	return nil
}

// seal encrypts the escrow.
func (c *Copier) seal(buffer *bytes.Buffer, e Escrow) (Part, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return Part{}, errors.New("encode the escrow: a Secret has a key that is no text")
	}
	if len(raw) > maxEscrow {
		return Part{}, fmt.Errorf("the release's Secrets and values take more than %d bytes", maxEscrow)
	}
	return encrypt(buffer, strings.NewReader(string(raw)), c.Recipients.all)
}
