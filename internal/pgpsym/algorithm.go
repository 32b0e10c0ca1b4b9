package pgpsym

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"hash"
	"slices"
)

// blockSize is that of all algorithms that are supported.
const blockSize = aes.BlockSize

// algorithm is a cipher, by its number in messages.
type algorithm struct {
	id      byte
	keySize int
}

// algorithmOf is the one with a number. pgp_sym_encrypt uses 7 unless it is asked for another one.
func algorithmOf(id byte) (algorithm, error) {
	switch id {
	case 7, 8, 9:
		return algorithm{id: id, keySize: 16 + 8*int(id-7)}, nil
	case 2, 3, 4: // 3DES, CAST5 and Blowfish.
		return algorithm{}, ErrUnsupported
	}
	return algorithm{}, ErrUnreadable
}

// block is the cipher with a key of the right size.
func (a algorithm) block(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	return block
}

// encrypt and decrypt are the CFB mode. crypto/cipher has it too, marked as deprecated, since it does not protect what
// it encrypts: the digest in a message does.
func encrypt(block cipher.Block, out, plain []byte) {
	stream := make([]byte, blockSize)
	for last := make([]byte, blockSize); len(plain) > 0; {
		block.Encrypt(stream, last)
		n := subtle.XORBytes(out, plain, stream)
		last, out, plain = out[:n], out[n:], plain[n:]
	}
}

func decrypt(block cipher.Block, last, out, encrypted []byte) {
	stream := make([]byte, blockSize)
	for len(encrypted) > 0 {
		block.Encrypt(stream, last[:blockSize])
		n := subtle.XORBytes(out, encrypted, stream)
		last, out, encrypted = encrypted, out[n:], encrypted[n:]
	}
}

// derivation is how a passphrase gives a key.
type derivation struct {
	mode, hash byte
	salt       []byte
	count      byte
}

// The modes of a derivation.
const (
	plainHash     = 0
	saltedHash    = 1
	iteratedHash  = 3
	saltSize      = 8
	defaultCount  = 0x60 // 65,536 bytes.
	longestStride = 4096
)

// readDerivation reads it from the start of raw.
func readDerivation(raw []byte) (d derivation, rest []byte, err error) {
	if len(raw) < 2 {
		return d, nil, ErrUnreadable
	}
	d.mode, d.hash, raw = raw[0], raw[1], raw[2:]
	if d.newHash() == nil {
		if d.hash == 3 { // RIPEMD-160.
			return d, nil, ErrUnsupported
		}
		return d, nil, ErrUnreadable
	}
	size := map[byte]int{plainHash: 0, saltedHash: saltSize, iteratedHash: saltSize + 1}
	n, known := size[d.mode]
	if !known || len(raw) < n {
		return d, nil, ErrUnreadable
	}
	if n > 0 {
		d.salt = raw[:saltSize]
	}
	if n > saltSize {
		d.count = raw[saltSize]
	}
	return d, raw[n:], nil
}

// fresh is the same with another salt. One without iterations gets some.
func (d derivation) fresh() (derivation, error) {
	if d.mode != iteratedHash {
		d.mode, d.count = iteratedHash, defaultCount
	}
	d.salt = make([]byte, saltSize)
	if _, err := rand.Read(d.salt); err != nil {
		return d, fmt.Errorf("make random bytes: %w", err)
	}
	return d, nil
}

// bytes are the derivation as messages have it. Its mode is that of fresh.
func (d derivation) bytes() []byte {
	return slices.Concat([]byte{d.mode, d.hash}, d.salt, []byte{d.count})
}

func (d derivation) newHash() hash.Hash {
	switch d.hash {
	case 1:
		return md5.New()
	case 2:
		return sha1.New()
	case 8:
		return sha256.New()
	case 9:
		return sha512.New384()
	case 10:
		return sha512.New()
	}
	return nil
}

// key is the key of size bytes that a passphrase gives.
func (d derivation) key(passphrase string, size int) []byte {
	input := slices.Concat(d.salt, []byte(passphrase))
	total := len(input)
	if d.mode == iteratedHash {
		total = max(total, (16+int(d.count&15))<<(d.count>>4+6))
	}
	// The input is repeated up to that many bytes. In large pieces that is much faster.
	stride := bytes.Repeat(input, max(1, min(longestStride, total)/max(1, len(input))))
	var key []byte
	h := d.newHash()
	for round := 0; len(key) < size; round++ {
		h.Reset()
		h.Write(make([]byte, round))
		for left := total; left > 0; {
			n := min(left, len(stride))
			h.Write(stride[:n])
			left -= n
		}
		key = h.Sum(key)
	}
	return key[:size]
}
