package offsite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// identityPrefix begins private keys of age. No text that may hold one is repeated in a message.
const identityPrefix = "AGE-SECRET-KEY-"

// ParseRecipients reads public keys of age. All must be of one kind: age refuses to mix those that withstand quantum
// computers (age1pq1…) with others.
func ParseRecipients(keys []string) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for i, key := range keys {
		if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(key)), identityPrefix) {
			return nil, hook.Refusef(finding.OffsiteRecipient,
				"give the public key that belongs to it (age-keygen -y FILE prints it), keep the private key out of the "+
					"cluster, and replace it by a new one: what has seen it may be read by others",
				"recipient %d is a private key", i+1)
		}
		found, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil || len(found) != 1 {
			return nil, hook.Refusef(finding.OffsiteRecipient,
				"give a public key of age, which begins with age1; age-keygen makes one",
				"recipient %d, %.12s…, is no public key of age", i+1, key)
		}
		recipients = append(recipients, found[0])
	}
	if len(recipients) == 0 {
		return nil, nil
	}
	if _, err := age.Encrypt(io.Discard, recipients...); err != nil {
		return nil, hook.Refusef(finding.OffsiteRecipient, "use keys of one kind for recipients and drillRecipients",
			"the recipients do not go together: %v", err)
	}
	return recipients, nil
}

// ReadIdentities reads private keys of age, one a line, as age-keygen writes them. name is what messages call the file.
func ReadIdentities(r io.Reader, name string) ([]age.Identity, error) {
	identities, err := age.ParseIdentities(r)
	if err != nil {
		// The error does not repeat the line.
		return nil, hook.Refusef(finding.OffsiteIdentity,
			"name the file that age-keygen wrote, with a line that begins with "+identityPrefix,
			"%s contains no private key of age (%v)", name, err)
	}
	return identities, nil
}

// encrypt writes an age file of what plain has into buffer, and returns its checksum. buffer keeps its memory.
func encrypt(buffer *bytes.Buffer, plain io.Reader, recipients []age.Recipient) (Part, error) {
	buffer.Reset()
	w, err := age.Encrypt(buffer, recipients...)
	if err != nil {
		return Part{}, fmt.Errorf("encrypt: %w", err)
	}
	_, err = io.Copy(w, plain)
	if err := errors.Join(err, w.Close()); err != nil {
		return Part{}, err
	}
	return describe(buffer.Bytes()), nil
}

// describe says what the store is to hold.
func describe(content []byte) Part {
	sum := sha256.Sum256(content)
	return Part{Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// decrypt returns what an age file holds. what names it in messages.
func decrypt(content []byte, identities []age.Identity, what string) (io.Reader, error) {
	plain, err := age.Decrypt(bytes.NewReader(content), identities...)
	var other *age.NoIdentityMatchError
	if errors.As(err, &other) {
		return nil, hook.Refusef(finding.OffsiteIdentity,
			"use the private key of one of the recipients that the copy names",
			"%s is not encrypted for this identity", what)
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt %s: %w", what, err)
	}
	return plain, nil
}

// Recipients are whom copies are encrypted for.
type Recipients struct {
	// Keys can open all of a copy, DrillKeys all but the escrow.
	Keys, DrillKeys []string

	all, files []age.Recipient
}

// NewRecipients reads public keys.
func NewRecipients(keys, drillKeys []string) (Recipients, error) {
	all, err := ParseRecipients(keys)
	if err != nil {
		return Recipients{}, err
	}
	if len(all) == 0 {
		return Recipients{}, hook.Refusef(finding.OffsiteRecipient,
			"set global.backup.offsite.recipients to public keys of age; age-keygen makes one",
			"copies of backups have no recipient, so they could not be decrypted")
	}
	files, err := ParseRecipients(append(append([]string{}, keys...), drillKeys...))
	return Recipients{Keys: keys, DrillKeys: drillKeys, all: all, files: files}, err
}
