package hook

import "errors"

// BackupSpec says what a backup holds, where it goes, and what it is made under.
type BackupSpec struct {
	// Dir is the folder where the claim is mounted.
	Dir string `json:"dir"`
	// Claim and Size are the claim's name and what it asks for.
	Claim string `json:"claim"`
	Size  string `json:"size"`
	// Retention is how many backups of each kind are kept.
	Retention int `json:"retention"`
	// AFS is the file of the AFS controller's database.
	AFS string `json:"afs,omitempty"`

	Release   string            `json:"release"`
	Namespace string            `json:"namespace,omitempty"`
	Revision  int               `json:"revision"`
	Chart     string            `json:"chart"`
	Images    map[string]string `json:"images"`

	// RestoreNote is the ConfigMap that is there while a restore has not ended.
	RestoreNote string `json:"restoreNote,omitempty"`

	// EncryptionKey is where the key is stored that credentials in the database are encrypted with.
	EncryptionKey SecretRef `json:"encryptionKey,omitzero"`

	// Copies are kept outside the cluster. Nil for none.
	Copies *CopySpec `json:"copies,omitempty"`

	// Set and Migrations bring a restored database to the schema that the release's services expect.
	Set        string      `json:"set"`
	Migrations []Migration `json:"migrations"`
}

// Validate reports what the spec lacks.
func (s BackupSpec) Validate() error {
	switch {
	case s.Dir == "":
		return errors.New("dir is empty")
	case s.Claim == "":
		return errors.New("claim is empty")
	case s.Size == "":
		return errors.New("size is empty")
	case s.Retention < 1:
		return errors.New("retention is less than 1")
	case s.Copies != nil && s.Namespace == "":
		return errors.New("copies need the namespace")
	case s.Copies != nil:
		return s.Copies.Validate()
	}
	return nil
}
