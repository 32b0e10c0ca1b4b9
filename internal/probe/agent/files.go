package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Files proves that a volume does what programs expect of one, from this node alone.
type Files struct {
	// Dir is where the volume is mounted.
	Dir string `json:"dir"`
	// Name makes a directory of this task's own in it.
	Name string `json:"name"`
	// Size is how many bytes the volume must have at least; 0 for any.
	Size int64 `json:"size,omitempty"`
	// Seconds to wait for that size; a volume takes a while to grow.
	Seconds int `json:"seconds,omitempty"`
}

func (f *Files) run(ctx context.Context, facts Facts) error {
	dir := filepath.Join(f.Dir, f.Name)
	if err := os.Mkdir(dir, 0o770); err != nil {
		return fmt.Errorf("make a directory as uid %d: %w", os.Geteuid(), err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	content := bytes.Repeat([]byte(f.Name+"\n"), 4096/len(f.Name))
	if err := writeFile(filepath.Join(dir, "new"), content); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "file")); err != nil {
		return fmt.Errorf("rename a file: %w", err)
	}
	read, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil {
		return fmt.Errorf("read a file back: %w", err)
	}
	if !bytes.Equal(read, content) {
		return errors.New("a file does not hold what was written to it")
	}
	if err := f.owner(filepath.Join(dir, "file"), facts); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, "file"), 0o600); err != nil {
		return fmt.Errorf("change the mode of a file: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove a directory: %w", err)
	}
	return f.size(ctx, facts)
}

// owner proves that a file belongs to who made it. A file server that maps users would give files to somebody else.
func (f *Files) owner(path string, facts Facts) error {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return fmt.Errorf("look at a file: %w", err)
	}
	facts["owner"] = fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
	if int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("a file made by uid %d belongs to uid %d", os.Geteuid(), stat.Uid)
	}
	return nil
}

func (f *Files) size(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(f.Seconds, time.Second))
	defer cancel()
	for {
		var stat unix.Statfs_t
		if err := unix.Statfs(f.Dir, &stat); err != nil {
			return fmt.Errorf("ask for the volume's size: %w", err)
		}
		size := int64(stat.Blocks) * stat.Bsize
		facts["size"] = fmt.Sprint(size)
		if size >= f.Size {
			return nil
		}
		if pause(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("the volume holds %d bytes, not %d", size, f.Size)
		}
	}
}

// writeFile writes a file that is on the disk when it returns.
func writeFile(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o660)
	if err != nil {
		return fmt.Errorf("make a file as uid %d: %w", os.Geteuid(), err)
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	return nil
}
