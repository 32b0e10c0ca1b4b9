package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// largestDescription bounds backup.json: its ledgers name each migration, so it has some tens of KiB.
const largestDescription = 4 << 20

// WriteTar writes a backup to w as a tar: its description, and then the files that it names, as open returns them.
func WriteTar(w io.Writer, m Metadata, open func(name string) (io.ReadCloser, error)) error {
	t := tar.NewWriter(w)
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	header := tar.Header{Name: metadataFile, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(raw)), ModTime: m.Time}
	if err := t.WriteHeader(&header); err != nil {
		return err
	}
	if _, err := t.Write(raw); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		header.Name, header.Size = name, m.Files[name].Bytes
		if err := writeFile(t, &header, open); err != nil {
			return fmt.Errorf("send %s of backup %s: %w", name, m.Name, err)
		}
	}
	return t.Close()
}

func writeFile(t *tar.Writer, header *tar.Header, open func(name string) (io.ReadCloser, error)) error {
	f, err := open(header.Name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, header.Size)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Sink takes a backup that arrives.
type Sink struct {
	// Begin takes the description. It may refuse the backup. With done the files are not read, since they are there.
	Begin func(Metadata) (done bool, err error)
	// Create opens one of the files to write it.
	Create func(name string) (io.WriteCloser, error)
}

// ReadTar reads a backup that WriteTar wrote. It accepts the files of a backup and nothing else, whatever the tar
// names, and each of them only with the size and the checksum of its description.
func ReadTar(ctx context.Context, r io.Reader, to Sink) (Metadata, error) {
	t := tar.NewReader(readerWith(ctx, r))
	header, err := t.Next()
	if err != nil {
		return Metadata{}, cutOff("a backup", err)
	}
	if header.Name != metadataFile || header.Typeflag != tar.TypeReg || header.Size > largestDescription {
		return Metadata{}, hook.Refusef(finding.BackupDamaged, "give what helm neutree backup pull has written",
			"what arrives does not begin with the description of a backup")
	}
	raw, err := io.ReadAll(t)
	if err != nil {
		return Metadata{}, cutOff("a backup", err)
	}
	m, err := ReadMetadata(raw)
	if err != nil {
		return m, err
	}
	if done, err := to.Begin(m); done || err != nil {
		return m, err
	}
	missing := maps.Clone(m.Files)
	for len(missing) > 0 {
		header, err := t.Next()
		if err != nil {
			return m, cutOff("backup "+m.Name, err)
		}
		want, known := missing[header.Name]
		if !known || header.Typeflag != tar.TypeReg || header.Size != want.Bytes {
			return m, damaged(m.Name, "%q arrives with %d bytes, which its description does not name", header.Name, header.Size)
		}
		if err := readFile(t, m.Name, header.Name, want, to); err != nil {
			return m, err
		}
		delete(missing, header.Name)
	}
	return m, nil
}

// readFile stores one file, and compares what arrived with its description.
func readFile(r io.Reader, backup, name string, want File, to Sink) error {
	w, err := to.Create(name)
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, hash), r)
	if err := errors.Join(err, w.Close()); err != nil {
		return cutOff("backup "+backup, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); n != want.Bytes || got != want.SHA256 {
		return damaged(backup, "%s arrived with the checksum %.12s…, not %.12s… as when it was made",
			name, got, want.SHA256)
	}
	return nil
}

// cutOff explains the end of a stream that came too early. Other errors are returned as they are.
func cutOff(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the connection was cut before %s had arrived whole: run the same command again", what)
	}
	return err
}

var checksumPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ReadMetadata reads the description of a backup, and refuses one that no backup has: what comes from elsewhere
// becomes names of files and of Jobs.
func ReadMetadata(raw []byte) (Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, hook.Refusef(finding.BackupDamaged, "use another copy", "the description of a backup is no JSON: %v", err)
	}
	if err := ValidateName(m.Name); err != nil {
		return m, err
	}
	if _, has := m.Files[databaseFile]; !has {
		return m, damaged(m.Name, "it names no dump of the database")
	}
	for name, f := range m.Files {
		if name != databaseFile && name != afsFile {
			return m, damaged(m.Name, "it names a file %q", name)
		}
		if f.Bytes < 0 || !checksumPattern.MatchString(f.SHA256) {
			return m, damaged(m.Name, "it names no size and no checksum of %s", name)
		}
	}
	return m, nil
}
