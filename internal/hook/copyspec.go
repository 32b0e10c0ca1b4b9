package hook

import (
	"errors"
	"fmt"
)

// CopySpec says where copies of backups go that are kept outside the cluster, and for whom they are encrypted.
type CopySpec struct {
	// S3 is a bucket. Without it the copies go to a folder.
	S3 *S3Spec `json:"s3,omitempty"`
	// Dir is where the volume for copies is mounted, Prefix the folder in it.
	Dir    string `json:"dir,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	// Recipients are public keys of age. They can open all of a copy, DrillRecipients all but the escrow.
	Recipients      []string `json:"recipients"`
	DrillRecipients []string `json:"drillRecipients,omitempty"`
	// Retention is how many copies are kept.
	Retention CopyRetention `json:"retention"`
	// Escrow is what is saved with a backup.
	Escrow EscrowSpec `json:"escrow"`
}

// S3Spec is a bucket of an S3 service.
type S3Spec struct {
	Endpoint  string `json:"endpoint"`
	PlainHTTP bool   `json:"plainHTTP,omitempty"`
	Region    string `json:"region,omitempty"`
	Bucket    string `json:"bucket"`
	Prefix    string `json:"prefix,omitempty"`
	PathStyle *bool  `json:"pathStyle,omitempty"`
	// Credentials is the folder with the files access-key, secret-key and, for temporary ones, session-token. They are
	// of the Secret called Secret.
	Credentials string `json:"credentials"`
	Secret      string `json:"secret"`
	// CA are files with CA certificates as PEM.
	CA []string `json:"ca,omitempty"`
}

// CopyRetention is how many copies are kept: the newest of each kind of backup, and the newest of each of the last
// days, weeks and months that have one.
type CopyRetention struct {
	Last    int `json:"last"`
	Daily   int `json:"daily"`
	Weekly  int `json:"weekly"`
	Monthly int `json:"monthly"`
}

// EscrowSpec says where the release's Secrets and values are mounted.
type EscrowSpec struct {
	// Dir has a folder for each Secret, and in it a file for each key.
	Dir string `json:"dir"`
	// Values is the file with the values.
	Values  string         `json:"values"`
	Secrets []EscrowSecret `json:"secrets"`
}

// EscrowSecret is a Secret whose keys are saved.
type EscrowSecret struct {
	Name     string            `json:"name"`
	Type     string            `json:"type,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Existing bool              `json:"existing,omitempty"`
	Value    string            `json:"value,omitempty"`
	Keys     []string          `json:"keys"`
}

// Validate reports what the spec lacks.
func (s CopySpec) Validate() error {
	switch {
	case s.S3 == nil && s.Dir == "":
		return errors.New("copies has neither s3 nor dir")
	case s.S3 != nil && (s.S3.Endpoint == "" || s.S3.Bucket == "" || s.S3.Credentials == ""):
		return errors.New("copies.s3 needs endpoint, bucket and credentials")
	case len(s.Recipients) == 0:
		return errors.New("copies.recipients is empty")
	case s.Escrow.Dir == "" || s.Escrow.Values == "":
		return errors.New("copies.escrow needs dir and values")
	case min(s.Retention.Last, s.Retention.Daily, s.Retention.Weekly, s.Retention.Monthly) < 0:
		return fmt.Errorf("copies.retention has a number below 0: %+v", s.Retention)
	}
	return nil
}
