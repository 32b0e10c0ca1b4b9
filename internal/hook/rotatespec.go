package hook

import "errors"

// RotateSpec says where the keys are that a rotation changes in the database.
type RotateSpec struct {
	// EncryptionKey is the key that credentials are encrypted with.
	EncryptionKey SecretRef `json:"encryptionKey"`
	// Admin is the Secret with the name and the password of the first administrator.
	Admin string `json:"admin"`
}

// Validate reports what the spec lacks.
func (s RotateSpec) Validate() error {
	if s.EncryptionKey.Secret == "" || s.EncryptionKey.Key == "" || s.Admin == "" {
		return errors.New("encryptionKey or admin is empty")
	}
	return nil
}
