package offsite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/progress"
)

// Copier copies backups to a store.
type Copier struct {
	Log   *slog.Logger
	Store Store
	// Dir is the folder with the backups.
	Dir        string
	Release    Release
	Recipients Recipients
	// Escrow reads the release's Secrets and values.
	Escrow func() (Escrow, error)
	// Retention is how many copies are kept.
	Retention hook.CopyRetention
	// PartBytes is how much of a file is in one part, 0 for 16 MiB.
	PartBytes int64
}

var _ backup.Copies = (*Copier)(nil)

// parallel is how many parts are encrypted and sent at a time. Each takes the memory of one part.
const parallel = 3

// String is where copies are.
func (c *Copier) String() string { return c.Store.String() }

func (c *Copier) partBytes() int64 {
	if c.PartBytes > 0 {
		return c.PartBytes
	}
	return partBytes
}

// Copy copies the backup m, unless there is a complete copy. A copy that was cut off is continued.
func (c *Copier) Copy(ctx context.Context, m backup.Metadata) error {
	there, err := read(ctx, c.Store, c.Release, m.Name)
	switch {
	case err == nil && sameBackup(there.Backup, m):
		return nil
	case err == nil:
		return hook.Refuse(finding.Finding{
			ID: finding.OffsiteOther, Severity: finding.Error, Object: "backup " + m.Name, Value: "global.backup.s3.prefix",
			Found: fmt.Sprintf("%s has a copy of another backup called %s of a release %s in a namespace %s",
				c.Store, m.Name, c.Release.Name, c.Release.Namespace),
			Why: "another cluster writes its copies to the same place",
			Fix: "set global.backup.s3.prefix, or global.backup.offsite.folder, to one that no other cluster has",
		})
	case !isMissing(err):
		return err
	}
	began := time.Now()
	manifest, sent, err := c.copyFiles(ctx, m)
	if is(err, finding.OffsiteLocked) {
		// An object was stored whose answer was lost, and can't be replaced: the next run uses a folder of another name.
		s := state{path: c.statePath(m.Name)}
		return errors.Join(err, s.forget())
	}
	if err != nil {
		return err
	}
	c.Log.Info("backup copied", "name", m.Name, "to", c.Store.String(), "size", backup.Size(manifest.Bytes()),
		"sent", backup.Size(sent), "seconds", time.Since(began).Round(100*time.Millisecond).Seconds())
	return nil
}

// copyFiles writes everything, the description last, and returns how many bytes were sent.
func (c *Copier) copyFiles(ctx context.Context, m backup.Metadata) (Manifest, int64, error) {
	escrow, err := c.Escrow()
	if err != nil {
		return Manifest{}, 0, err
	}
	c.warnOfEscrow(m, escrow)
	s, err := c.readState(m.Name)
	if err != nil {
		return Manifest{}, 0, err
	}
	if err := c.findParts(ctx, m.Name, s); err != nil {
		return Manifest{}, 0, err
	}
	manifest := Manifest{
		Format: Format, Namespace: c.Release.Namespace, Backup: public(m), Folder: s.Folder, PartBytes: s.PartBytes,
		Recipients: c.Recipients.Keys, DrillRecipients: c.Recipients.DrillKeys, Files: map[string]File{},
	}
	work, err := c.open(m)
	defer work.close()
	if err != nil {
		return manifest, 0, err
	}
	sent, err := c.send(ctx, m.Name, s, work)
	if err != nil {
		return manifest, sent, err
	}
	for _, file := range work.files {
		manifest.Files[file.name] = File{Bytes: file.bytes, Parts: file.parts}
	}
	var buffer bytes.Buffer
	if manifest.Escrow, err = c.seal(&buffer, escrow); err != nil {
		return manifest, sent, err
	}
	folder := c.Release.folder(m.Name)
	if err := c.Store.Put(ctx, folder+escrowName(s.Folder), buffer.Bytes()); err != nil {
		return manifest, sent, err
	}
	manifest.Copied = time.Now().UTC().Truncate(time.Second)
	raw, err := json.MarshalIndent(manifest, "", " ")
	if err != nil {
		return manifest, sent, err
	}
	if err := c.Store.Put(ctx, folder+DescriptionFile, append(raw, '\n')); err != nil {
		return manifest, sent, err
	}
	return manifest, sent, s.forget()
}

// warnOfEscrow says what a restore of the copy will lack.
func (c *Copier) warnOfEscrow(m backup.Metadata, e Escrow) {
	if len(e.Missing) > 0 {
		c.Log.Warn("the copy lacks what is not in the cluster's Secrets", "backup", m.Name,
			"keys", strings.Join(e.Missing, ", "))
	}
	if !m.Key.Known() {
		return
	}
	for _, secret := range e.Secrets {
		key, has := secret.Data["CREDENTIAL_ENCRYPTION_KEY"]
		if has && !m.Key.Matches(strings.TrimSpace(string(key))) {
			c.Log.Warn("the encryption key was changed after this backup was made, and the copy has only the current one: "+
				"the credentials in it can't be read without the earlier key", "backup", m.Name)
		}
	}
}

// findParts looks which of the parts that were sent before are there.
func (c *Copier) findParts(ctx context.Context, name string, s *state) error {
	if len(s.Parts) == 0 {
		return nil
	}
	folder := c.Release.folder(name)
	stored := map[string]int64{}
	for object, err := range c.Store.List(ctx, folder+s.Folder+"/", true) {
		if err != nil {
			return err
		}
		stored[strings.TrimPrefix(object.Key, folder)] = object.Size
	}
	s.keep(stored)
	if len(s.Parts) > 0 {
		c.Log.Info("continuing a copy that was cut off", "backup", name, "parts", len(s.Parts))
	}
	return nil
}

// work is the files of a backup that are being copied.
type work struct{ files []*sending }

type sending struct {
	name  string
	file  *os.File
	bytes int64
	parts []Part
}

func (w work) close() {
	for _, f := range w.files {
		_ = f.file.Close()
	}
}

// largest is the size of the largest file.
func (w work) largest() int64 {
	var size int64
	for _, f := range w.files {
		size = max(size, f.bytes)
	}
	return size
}

// open opens the files of a backup, its own description among them.
func (c *Copier) open(m backup.Metadata) (work, error) {
	var w work
	for _, name := range backup.FileNames() {
		if _, has := m.Files[name]; !has && name != backup.MetadataFile {
			continue
		}
		file, err := os.Open(filepath.Join(c.Dir, m.Name, name))
		if err != nil {
			return w, fmt.Errorf("read backup %s: %w", m.Name, err)
		}
		w.files = append(w.files, &sending{name: name, file: file})
		info, err := file.Stat()
		if err != nil {
			return w, fmt.Errorf("read backup %s: %w", m.Name, err)
		}
		f := w.files[len(w.files)-1]
		f.bytes = info.Size()
		f.parts = make([]Part, partsOf(f.bytes, c.partBytes()))
	}
	return w, nil
}

// send encrypts and sends the parts that are not in the store.
func (c *Copier) send(ctx context.Context, name string, s *state, w work) (int64, error) {
	var sent atomic.Int64
	stop := c.report(name, w, &sent)
	defer stop()
	// A part waits for the memory of one that was sent.
	buffers := make(chan *bytes.Buffer, parallel)
	for range parallel {
		// One that grows by itself would take twice as much.
		buffers <- bytes.NewBuffer(make([]byte, 0, min(s.PartBytes, w.largest())+overhead))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, f := range w.files {
		for n := range f.parts {
			object := partName(s.Folder, f.name, n)
			if part, has := s.has(object); has {
				f.parts[n] = part
				continue
			}
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				buffer := <-buffers
				defer func() { buffers <- buffer }()
				plain := io.NewSectionReader(f.file, int64(n)*s.PartBytes, s.PartBytes)
				part, err := encrypt(buffer, plain, c.Recipients.files)
				if err != nil {
					return fmt.Errorf("copy %s of backup %s: %w", f.name, name, err)
				}
				if err := c.Store.Put(ctx, c.Release.folder(name)+object, buffer.Bytes()); err != nil {
					return err
				}
				sent.Add(part.Bytes)
				f.parts[n] = part
				if err := s.add(object, part); err != nil {
					c.Log.Warn("a run after this one will send a part again: it could not be noted", "cause", err.Error())
				}
				return nil
			})
		}
	}
	err := group.Wait()
	return sent.Load(), err
}

// report says now and then how much was sent, until the function it returns is called.
func (c *Copier) report(name string, w work, sent *atomic.Int64) func() {
	var size int64
	for _, f := range w.files {
		size += f.bytes
	}
	return progress.Report(func(elapsed string) {
		c.Log.Info("copying the backup", "name", name, "sent", backup.Size(sent.Load()), "of", backup.Size(size),
			"elapsed", elapsed)
	})
}

// Continue completes copies of those of list, all backups, that were cut off and would be kept, the oldest first. A copy
// that fails for a reason of its own is left: it must not keep newer backups from being copied.
func (c *Copier) Continue(ctx context.Context, list []backup.Metadata,
	check func(context.Context, backup.Metadata) error,
) error {
	kept := keep(list, c.Retention)
	for _, m := range slices.Backward(list) {
		if !kept[m.Name] {
			continue
		}
		s, err := c.readState(m.Name)
		if err == nil && len(s.Parts) == 0 {
			continue
		}
		if err == nil {
			err = check(ctx, m)
		}
		if err == nil {
			err = c.Copy(ctx, m)
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			c.Log.Warn("the copy of an earlier backup could not be continued", "backup", m.Name, "cause", err.Error())
		}
	}
	return nil
}

// atMost is how many earlier backups one run copies: the first run after copies were turned on finds many.
const atMost = 5

// Maintain copies those of list, all backups, that have no copy and would be kept, the newest first, and deletes the
// copies beyond the retention. check says what is wrong with a backup.
func (c *Copier) Maintain(ctx context.Context, list []backup.Metadata,
	check func(context.Context, backup.Metadata) error,
) error {
	copies, err := List(ctx, c.Store, c.Release)
	if err != nil {
		return err
	}
	all := slices.Clone(list)
	known := map[string]bool{}
	for name, cause := range copies.Unreadable {
		known[name] = true
		c.Log.Warn("a copy can't be used", "backup", name, "cause", cause.Error())
	}
	for _, copied := range copies.Copies {
		known[copied.Backup.Name] = true
		if !slices.ContainsFunc(list, func(m backup.Metadata) bool { return m.Name == copied.Backup.Name }) {
			all = append(all, copied.Backup)
		}
	}
	kept := keep(all, c.Retention)
	missed := 0
	for _, m := range list {
		if known[m.Name] || !kept[m.Name] {
			continue
		}
		if missed++; missed > atMost {
			c.Log.Info("more backups have no copy yet: the next run continues")
			break
		}
		if err := check(ctx, m); err != nil {
			if ctx.Err() != nil {
				return err
			}
			c.Log.Warn("a backup is not copied", "backup", m.Name, "cause", err.Error())
			continue
		}
		c.Log.Info("copying an earlier backup, which has no copy", "name", m.Name)
		if err := c.Copy(ctx, m); err != nil {
			return err
		}
	}
	c.forgetOthers(list)
	return c.Prune(ctx, list)
}
