package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/neutree-ai/packaging/internal/mask"
	"github.com/neutree-ai/packaging/test/clustertest/internal/bed"
	"github.com/neutree-ai/packaging/test/dump"
)

// nodeLogBytes bounds what is kept of each log of a node: its end.
const nodeLogBytes = 512 << 10

// writeDown fills the folder of a failed test: its output, the cluster unless the test itself wrote that down before it
// removed what it had made, and the logs of the nodes.
func writeDown(ctx context.Context, folder string, on *bed.Bed, w *watched, output string) error {
	ctx, cancel := context.WithTimeout(ctx, dumpLimit)
	defer cancel()
	// The test knew fewer values, of fewer moments.
	written, errs := hideIn(folder, w.secrets.Mask())
	if on != nil && !written {
		errs = errors.Join(errs, dump.Write(ctx, w.config, filepath.Join(folder, "cluster"), w.secrets))
	}
	hidden := w.secrets.Mask()
	if on != nil {
		errs = errors.Join(errs, nodeLogs(on, filepath.Join(folder, "nodes"), hidden))
	}
	return errors.Join(errs, write(filepath.Join(folder, "output.log"), hidden.Hide(output)))
}

// hideIn hides values in all files of a folder, and says whether there were any.
func hideIn(folder string, hidden mask.Mask) (bool, error) {
	any := false
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		any = true
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return write(path, hidden.Hide(string(text)))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return any, nil
	}
	return any, err
}

// nodeLogs copies the ends of the logs of the nodes and of the control plane.
func nodeLogs(on *bed.Bed, folder string, hidden mask.Mask) error {
	var errs error
	for _, from := range on.LogFolders() {
		member := filepath.Base(filepath.Dir(from))
		err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := end(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			return write(filepath.Join(folder, member, name), hidden.Hide(text))
		})
		errs = errors.Join(errs, err)
	}
	return errs
}

// end is the end of a file.
func end(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if info.Size() > nodeLogBytes {
		if _, err := file.Seek(-nodeLogBytes, io.SeekEnd); err != nil {
			return "", err
		}
	}
	raw, err := io.ReadAll(io.LimitReader(file, nodeLogBytes))
	text := string(raw)
	if info.Size() > nodeLogBytes {
		// Half a line may hold half a secret.
		_, text, _ = strings.Cut(text, "\n")
	}
	return text, err
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
