package offsite

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/neutree-ai/packaging/internal/backup"
)

// Format is the version of the format that is written, and the newest that can be read.
const Format = 1

// DescriptionFile describes a copy, in the clear. A copy without it is incomplete.
const DescriptionFile = backup.MetadataFile

const (
	// partBytes is how much of a file is in one part: several are in memory at a time.
	partBytes = 16 << 20
	// maxPart bounds what a description may say of that, and overhead what encryption adds to it.
	maxPart  = 64 << 20
	overhead = 1 << 20
	// maxDescription and maxEscrow bound what is read at once. A description has some 100 bytes for each part.
	maxDescription = 32 << 20
	maxEscrow      = 16 << 20
)

// Manifest describes a copy. It is public: nothing in it may help to guess what the copy holds.
type Manifest struct {
	// Format is the version of the format.
	Format int `json:"format"`
	// Namespace is the release's. Its name is in Backup.
	Namespace string `json:"namespace"`
	// Backup is what the backup's own description says, without the checksums of its files, the numbers of rows and what
	// recognises the encryption key: those are in the encrypted one.
	Backup backup.Metadata `json:"backup"`
	// Copied is when the copy was complete.
	Copied time.Time `json:"copied"`
	// Recipients are the public keys that all of it is encrypted for, DrillRecipients those for all but the escrow.
	Recipients      []string `json:"recipients"`
	DrillRecipients []string `json:"drillRecipients,omitempty"`
	// Folder has the files. Its name is random, so that two installations that copy to the same place by mistake do not
	// mix their parts.
	Folder string `json:"folder"`
	// PartBytes is how much of a file is in each of its parts but the last.
	PartBytes int64 `json:"partBytes"`
	// Files are the files of the backup, its own description among them.
	Files map[string]File `json:"files"`
	// Escrow is the encrypted escrow.
	Escrow Part `json:"escrow"`
}

// File is a file of a backup: its size, and its encrypted parts in order.
type File struct {
	Bytes int64  `json:"bytes"`
	Parts []Part `json:"parts"`
}

// Part is an object: its size and its checksum, as it is stored.
type Part struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Bytes is what the copy takes in the store.
func (m Manifest) Bytes() int64 {
	sum := m.Escrow.Bytes
	for _, file := range m.Files {
		for _, part := range file.Parts {
			sum += part.Bytes
		}
	}
	return sum
}

// Release is the installation that the backup is of.
func (m Manifest) Release() Release { return Release{Namespace: m.Namespace, Name: m.Backup.Release} }

// public is what a description in the clear may say of a backup.
func public(m backup.Metadata) backup.Metadata {
	m.Key.Salt, m.Key.Digest, m.Files, m.Rows, m.Copy = nil, nil, nil, nil, ""
	return m
}

// sameBackup says whether both describe the same backup. Names are made of the time, and two installations may use one.
// What a backup was made for is left out: one that came back from a copy counts as made by hand.
func sameBackup(a, b backup.Metadata) bool {
	identity := func(m backup.Metadata) backup.Metadata {
		m = public(m)
		m.Kind, m.Series, m.Job = "", "", ""
		return m
	}
	x, errX := json.Marshal(identity(a))
	y, errY := json.Marshal(identity(b))
	return errX == nil && errY == nil && string(x) == string(y)
}

// partsOf is how many parts a file of that size has: an empty one has one too.
func partsOf(bytes, part int64) int64 { return max(1, (bytes+part-1)/part) }

// partName is the name of a part below the folder of the copy. n counts from 0.
func partName(folder, file string, n int) string {
	return path.Join(folder, fmt.Sprintf("%s.%05d.age", file, n+1))
}

func escrowName(folder string) string { return path.Join(folder, "escrow.age") }

var (
	folderPattern = regexp.MustCompile(`^[a-z0-9]{16,32}$`)
	sumPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// readManifest reads the description of the copy of the backup called name of release. It comes from outside: names in
// it become names of objects and files.
func readManifest(raw []byte, release Release, name string) (Manifest, error) {
	// An older reader must say that it is too old, whatever else has changed.
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return Manifest{}, fmt.Errorf("it is no JSON: %w", err)
	}
	if version.Format > Format {
		return Manifest{}, &newerError{version.Format}
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("it is no description of a copy: %w", err)
	}
	return m, m.validate(release, name)
}

// newerError is about a copy that a newer version of the program made.
type newerError struct{ format int }

func (e *newerError) Error() string {
	return fmt.Sprintf("it has format %d, and this program knows formats up to %d", e.format, Format)
}

func (m Manifest) validate(release Release, name string) error {
	switch {
	case m.Format < 1:
		return errors.New("it says no format")
	case m.Backup.Name != name || backup.ValidateName(name) != nil:
		return fmt.Errorf("it describes backup %q", m.Backup.Name)
	case m.Release() != release:
		return fmt.Errorf("it describes a backup of release %q in namespace %q", m.Backup.Release, m.Namespace)
	case !folderPattern.MatchString(m.Folder):
		return fmt.Errorf("it names the folder %q", m.Folder)
	case m.PartBytes < 1 || m.PartBytes > maxPart:
		return fmt.Errorf("it says that parts have %d bytes", m.PartBytes)
	case m.Escrow.invalid(maxEscrow + overhead):
		return errors.New("it describes no escrow")
	}
	for _, file := range slices.Sorted(maps.Keys(m.Files)) {
		if !slices.Contains(backup.FileNames(), file) {
			return fmt.Errorf("it names a file %q", file)
		}
		f := m.Files[file]
		if f.Bytes < 0 || int64(len(f.Parts)) != partsOf(f.Bytes, m.PartBytes) {
			return fmt.Errorf("%s has %d bytes in %d parts", file, f.Bytes, len(f.Parts))
		}
		if slices.ContainsFunc(f.Parts, func(p Part) bool { return p.invalid(m.PartBytes + overhead) }) {
			return fmt.Errorf("it does not describe each part of %s", file)
		}
	}
	for _, file := range []string{backup.MetadataFile, backup.DatabaseFile} {
		if _, has := m.Files[file]; !has {
			return fmt.Errorf("it names no %s", file)
		}
	}
	return nil
}

func (p Part) invalid(limit int64) bool {
	return p.Bytes < 1 || p.Bytes > limit || !sumPattern.MatchString(p.SHA256)
}
