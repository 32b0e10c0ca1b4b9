package offsite

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/neutree-ai/packaging/internal/backup"
)

// state is how far the copy of one backup is. It is kept with the backups, so that a run that was cut off is continued
// by the next one. An encrypted part can't be made a second time, so what it was has to be remembered.
type state struct {
	// Store, Recipients, DrillRecipients and PartBytes are what the parts were made for. For anything else they are of
	// no use.
	Store           string   `json:"store"`
	Recipients      []string `json:"recipients"`
	DrillRecipients []string `json:"drillRecipients,omitempty"`
	PartBytes       int64    `json:"partBytes"`
	// Folder is that of the copy.
	Folder string `json:"folder"`
	// Parts are those that are in the store, by their names.
	Parts map[string]Part `json:"parts"`

	path string
	mu   sync.Mutex
}

const (
	statePrefix = ".copy-"
	stateSuffix = ".json"
)

func (c *Copier) statePath(name string) string {
	return filepath.Join(c.Dir, statePrefix+name+stateSuffix)
}

// readState returns how far the copy of the backup called name is.
func (c *Copier) readState(name string) (*state, error) {
	fresh := &state{
		Store: c.Store.String(), Recipients: c.Recipients.Keys, DrillRecipients: c.Recipients.DrillKeys, PartBytes: c.partBytes(),
		Folder: strings.ToLower(rand.Text()), Parts: map[string]Part{},
		path: c.statePath(name),
	}
	raw, err := os.ReadFile(fresh.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how far the copy of backup %s is: %w", name, err)
	}
	left := &state{path: fresh.path}
	if json.Unmarshal(raw, left) != nil || !left.fits(fresh) {
		return fresh, nil
	}
	return left, nil
}

func (s *state) fits(want *state) bool {
	return s.Store == want.Store && s.PartBytes == want.PartBytes && s.Parts != nil && folderPattern.MatchString(s.Folder) &&
		slices.Equal(s.Recipients, want.Recipients) && slices.Equal(s.DrillRecipients, want.DrillRecipients)
}

// has returns a part that is in the store.
func (s *state) has(name string) (Part, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	part, has := s.Parts[name]
	return part, has
}

// keep forgets the parts that are not in stored, which are objects and their sizes.
func (s *state) keep(stored map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, part := range s.Parts {
		if size, is := stored[name]; !is || size != part.Bytes {
			delete(s.Parts, name)
		}
	}
}

// add notes a part that is in the store now.
func (s *state) add(name string, part Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Parts[name] = part
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next := s.path + ".next"
	if err := os.WriteFile(next, raw, 0o640); err != nil {
		return err
	}
	return os.Rename(next, s.path)
}

// forget removes the file: the copy is complete.
func (s *state) forget() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget how far the copy was: %w", err)
	}
	return nil
}

// forgetOthers removes what was noted for backups that there are no more.
func (c *Copier) forgetOthers(list []backup.Metadata) {
	left, _ := filepath.Glob(filepath.Join(c.Dir, statePrefix+"*"))
	for _, path := range left {
		name := strings.TrimPrefix(filepath.Base(path), statePrefix)
		name, _, _ = strings.Cut(name, ".")
		if !slices.ContainsFunc(list, func(m backup.Metadata) bool { return m.Name == name }) {
			_ = os.Remove(path)
		}
	}
}
