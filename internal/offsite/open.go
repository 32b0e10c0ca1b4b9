package offsite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
)

// Opened is a copy that can be decrypted.
type Opened struct {
	*Copy
	// Metadata is the backup's own description, with the checksums of its files.
	Metadata backup.Metadata

	raw        []byte
	identities []age.Identity
}

// Unlock decrypts the backup's own description, which shows that the identities are right. The identities of a drill
// open all files, and not the escrow.
func (c *Copy) Unlock(ctx context.Context, identities []age.Identity) (*Opened, error) {
	r := c.open(ctx, backup.MetadataFile, identities)
	defer r.Close() //nolint:errcheck // It was only read.
	raw, err := io.ReadAll(io.LimitReader(r, maxDescription))
	if err != nil {
		return nil, err
	}
	o := &Opened{Copy: c, raw: raw, identities: identities}
	if err := json.Unmarshal(raw, &o.Metadata); err != nil {
		return nil, damaged(c.Backup.Name, c.store, "the encrypted %s is no JSON: %v", backup.MetadataFile, err)
	}
	if o.Metadata.Name != c.Backup.Name || o.Metadata.Release != c.Backup.Release {
		return nil, damaged(c.Backup.Name, c.store, "the encrypted %s is that of %q", backup.MetadataFile, o.Metadata.Name)
	}
	for name, file := range o.Metadata.Files {
		if got, has := c.Files[name]; !has || got.Bytes != file.Bytes {
			return nil, damaged(c.Backup.Name, c.store, "the encrypted %s names %s with %d bytes",
				backup.MetadataFile, name, file.Bytes)
		}
	}
	if len(o.Metadata.Files)+1 != len(c.Files) {
		return nil, damaged(c.Backup.Name, c.store, "it has other files than the encrypted %s names", backup.MetadataFile)
	}
	return o, nil
}

// Open returns a file of the backup as it was. Reading ends with an error instead of io.EOF if it is not the file whose
// checksum the encrypted description has. One or two parts are in memory at a time.
func (o *Opened) Open(ctx context.Context, file string) io.ReadCloser {
	if file == backup.MetadataFile {
		return io.NopCloser(bytes.NewReader(o.raw))
	}
	return &verified{
		ReadCloser: o.open(ctx, file, o.identities), hash: sha256.New(), want: o.Metadata.Files[file].SHA256,
		wrong: func() error {
			return damaged(o.Backup.Name, o.store, "%s does not have the checksum of the file that was saved", file)
		},
	}
}

// Escrow decrypts the Secrets and values that the release had.
func (o *Opened) Escrow(ctx context.Context) (Escrow, error) {
	var e Escrow
	content, err := o.part(ctx, escrowName(o.Folder), o.Manifest.Escrow)
	if err != nil {
		return e, err
	}
	plain, err := decrypt(content, o.identities, "the escrow of backup "+o.Backup.Name)
	if err != nil {
		return e, err
	}
	raw, err := io.ReadAll(io.LimitReader(plain, maxEscrow))
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		// An error of the decoder may repeat a piece of the text.
		return Escrow{}, damaged(o.Backup.Name, o.store, "its escrow can't be decrypted or is no JSON")
	}
	return e, e.validate(o.Manifest)
}

// verified compares a checksum at the end of a file.
type verified struct {
	io.ReadCloser
	hash  hash.Hash
	want  string
	wrong func() error
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want {
		return n, v.wrong()
	}
	return n, err
}

// open returns the plain content of a file.
func (c *Copy) open(ctx context.Context, file string, identities []age.Identity) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r := &fileReader{c: c, ctx: ctx, cancel: cancel, file: file, identities: identities, left: c.Files[file].Bytes}
	r.fetch()
	return r
}

// fileReader reads the parts of a file one after the other. The next one is fetched while one is read.
type fileReader struct {
	c          *Copy
	ctx        context.Context
	cancel     context.CancelFunc
	file       string
	identities []age.Identity
	// next is the number of the part that is fetched.
	next  int
	ahead chan fetched
	plain io.Reader
	// left is what the file still has.
	left int64
}

type fetched struct {
	content []byte
	err     error
}

// fetch begins to read the next part.
func (r *fileReader) fetch() {
	parts := r.c.Files[r.file].Parts
	if r.next >= len(parts) {
		r.ahead = nil
		return
	}
	ahead, name, want := make(chan fetched, 1), partName(r.c.Folder, r.file, r.next), parts[r.next]
	r.ahead = ahead
	r.next++
	go func() {
		content, err := r.c.part(r.ctx, name, want)
		ahead <- fetched{content, err}
	}()
}

// Read returns decrypted content. Every part is checked as a whole before any of it is returned.
func (r *fileReader) Read(p []byte) (int, error) {
	for {
		if r.plain != nil {
			n, err := r.plain.Read(p)
			r.left -= int64(n)
			if err == io.EOF {
				r.plain, err = nil, nil
			}
			if err != nil {
				return n, damaged(r.c.Backup.Name, r.c.store, "%s can't be decrypted: %v", r.file, err)
			}
			if n > 0 || len(p) == 0 {
				return n, nil
			}
		}
		if r.ahead == nil {
			if r.left != 0 {
				return 0, damaged(r.c.Backup.Name, r.c.store, "%s does not have the size that is described", r.file)
			}
			return 0, io.EOF
		}
		got := <-r.ahead
		if r.ahead = nil; got.err != nil {
			// What follows a part that can't be read is of no use.
			r.next, r.left = len(r.c.Files[r.file].Parts), -1
			return 0, got.err
		}
		what := fmt.Sprintf("%s of the copy of backup %s", r.file, r.c.Backup.Name)
		r.fetch()
		var err error
		if r.plain, err = decrypt(got.content, r.identities, what); err != nil {
			return 0, err
		}
	}
}

// Close ends what is being fetched.
func (r *fileReader) Close() error {
	r.cancel()
	if r.ahead != nil {
		<-r.ahead
		r.ahead = nil
	}
	return nil
}
