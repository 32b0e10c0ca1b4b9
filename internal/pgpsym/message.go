// Package pgpsym reads and writes the messages of PostgreSQL's function pgp_sym_encrypt: OpenPGP (RFC 4880), encrypted
// with a passphrase. A message gets another passphrase here, so that none has to be sent to the server, whose logs and
// statistics can contain what it is sent. The content of the message is not looked at: it is kept to the byte.
package pgpsym

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"errors"
	"fmt"
)

// ErrUnreadable is the error of a text that is no message, of a damaged one, and of one with another passphrase:
// without the right one nothing distinguishes them.
var ErrUnreadable = errors.New("it is damaged, or encrypted with another key")

// ErrUnsupported is the error of a message with an algorithm that pgp_sym_encrypt uses only where it is asked to.
var ErrUnsupported = errors.New("it is encrypted with an algorithm that is not supported")

// The packets of a message.
const (
	tagSessionKey   = 3
	tagEncrypted    = 9
	tagMarker       = 10
	tagEncryptedMDC = 18
)

// Message is one encrypted message.
type Message struct {
	algorithm algorithm
	derive    derivation
	// sessionKey is the key that the content is encrypted with, itself encrypted; empty where the passphrase alone gives
	// that key.
	sessionKey []byte
	// protected says that the content ends with a digest of it, as all messages do by default.
	protected bool
	encrypted []byte
}

// Parse reads a message without its passphrase.
func Parse(raw []byte) (*Message, error) {
	m := &Message{}
	seen := false
	for len(raw) > 0 {
		tag, body, rest, err := readPacket(raw)
		if err != nil {
			return nil, err
		}
		raw = rest
		switch {
		case tag == tagMarker:
		case tag == tagSessionKey && !seen:
			seen = true
			if err := m.readSessionKey(body); err != nil {
				return nil, err
			}
		case tag == tagEncryptedMDC && seen && len(body) > 1 && body[0] == 1 && len(raw) == 0:
			m.protected, m.encrypted = true, body[1:]
		case tag == tagEncrypted && seen && len(raw) == 0:
			m.encrypted = body
		default:
			return nil, ErrUnreadable
		}
	}
	if m.encrypted == nil {
		return nil, ErrUnreadable
	}
	return m, nil
}

// readSessionKey reads how the passphrase gives the key.
func (m *Message) readSessionKey(body []byte) error {
	if len(body) < 2 || body[0] != 4 {
		return ErrUnreadable
	}
	var err error
	if m.algorithm, err = algorithmOf(body[1]); err != nil {
		return err
	}
	m.derive, m.sessionKey, err = readDerivation(body[2:])
	return err
}

// Open decrypts the content of the message.
func (m *Message) Open(passphrase string) ([]byte, error) {
	algorithm, key := m.algorithm, m.derive.key(passphrase, m.algorithm.keySize)
	if len(m.sessionKey) > 0 {
		var err error
		if algorithm, key, err = m.unwrap(key); err != nil {
			return nil, err
		}
	}
	if m.protected {
		return algorithm.openProtected(key, m.encrypted)
	}
	content, err := algorithm.open(key, m.encrypted)
	if err != nil {
		return nil, err
	}
	// There is no digest, so the form has to do.
	for rest := content; len(rest) > 0; {
		tag, _, after, err := readPacket(rest)
		if err != nil || tag != tagCompressed && tag != tagLiteral {
			return nil, ErrUnreadable
		}
		rest = after
	}
	return content, nil
}

// The packets of the content.
const (
	tagCompressed = 8
	tagLiteral    = 11
)

// unwrap decrypts the session key. Its first byte is its algorithm.
func (m *Message) unwrap(key []byte) (algorithm, []byte, error) {
	plain := make([]byte, len(m.sessionKey))
	block := m.algorithm.block(key)
	decrypt(block, make([]byte, blockSize), plain, m.sessionKey)
	of, err := algorithmOf(plain[0])
	if err != nil || len(plain)-1 != of.keySize {
		return algorithm{}, nil, ErrUnreadable
	}
	return of, plain[1:], nil
}

// Seal is the message with other content, or the same, under another passphrase. Its algorithms are those of m.
func (m *Message) Seal(content []byte, passphrase string) ([]byte, error) {
	derive, err := m.derive.fresh()
	if err != nil {
		return nil, err
	}
	prefix := make([]byte, blockSize, blockSize+2)
	if _, err := rand.Read(prefix); err != nil {
		return nil, fmt.Errorf("make random bytes: %w", err)
	}
	plain := bytes.Join([][]byte{append(prefix, prefix[blockSize-2:]...), content, mdcHeader}, nil)
	digest := sha1.Sum(plain)
	plain = append(plain, digest[:]...)
	encrypted := make([]byte, len(plain)+1)
	encrypted[0] = 1
	encrypt(m.algorithm.block(derive.key(passphrase, m.algorithm.keySize)), encrypted[1:], plain)
	out := writePacket(nil, tagSessionKey, append([]byte{4, m.algorithm.id}, derive.bytes()...))
	return writePacket(out, tagEncryptedMDC, encrypted), nil
}

// Reencrypt is the message under another passphrase.
func Reencrypt(raw []byte, from, to string) ([]byte, error) {
	m, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	content, err := m.Open(from)
	if err != nil {
		return nil, err
	}
	return m.Seal(content, to)
}

// mdcHeader begins the packet with the digest, which is the last one of the content.
var mdcHeader = []byte{0xd3, sha1.Size}

// openProtected decrypts content that ends with its digest.
func (a algorithm) openProtected(key, encrypted []byte) ([]byte, error) {
	const around = blockSize + 2
	tail := len(mdcHeader) + sha1.Size
	if len(encrypted) < around+tail {
		return nil, ErrUnreadable
	}
	plain := make([]byte, len(encrypted))
	decrypt(a.block(key), make([]byte, blockSize), plain, encrypted)
	end := len(plain) - sha1.Size
	digest := sha1.Sum(plain[:end])
	if !repeats(plain) || !bytes.Equal(plain[end-len(mdcHeader):end], mdcHeader) ||
		subtle.ConstantTimeCompare(digest[:], plain[end:]) != 1 {
		return nil, ErrUnreadable
	}
	return plain[around : end-len(mdcHeader)], nil
}

// open decrypts content without a digest. After the prefix the mode starts again.
func (a algorithm) open(key, encrypted []byte) ([]byte, error) {
	const around = blockSize + 2
	if len(encrypted) <= around {
		return nil, ErrUnreadable
	}
	block, prefix := a.block(key), make([]byte, around)
	decrypt(block, make([]byte, blockSize), prefix, encrypted[:around])
	if !repeats(prefix) {
		return nil, ErrUnreadable
	}
	content := make([]byte, len(encrypted)-around)
	decrypt(block, encrypted[2:around], content, encrypted[around:])
	return content, nil
}

// repeats says whether the random prefix ends with two bytes twice, as it does with the right key.
func repeats(plain []byte) bool {
	return plain[blockSize-2] == plain[blockSize] && plain[blockSize-1] == plain[blockSize+1]
}
