package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/backupfile"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/restorefrom"
	"github.com/neutree-ai/packaging/internal/restorefrom/restorefromtest"
)

const copied = "20261123-141500"

// withCopies puts a folder with a copy into dir, and the key that decrypts it.
func withCopies(t *testing.T, dir string) { placeIn(t, dir) }

func placeIn(t *testing.T, dir string) *offsite.Opened {
	t.Helper()
	p := restorefromtest.New(t)
	p.Copy(restorefromtest.Neutree, copied, time.Date(2026, 11, 23, 14, 15, 0, 0, time.UTC))
	if err := os.CopyFS(filepath.Join(dir, "backups"), os.DirFS(p.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.txt"), []byte(p.Identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := restorefrom.Find(t.Context(), p.Store, "", copied)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := found.Unlock(t.Context(), []age.Identity{p.Identity})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// withFolder puts a backup into dir that is not encrypted.
func withFolder(t *testing.T, dir string) {
	if _, err := backup.PullFolder(t.Context(), tarOf(t, placeIn(t, dir)), dir); err != nil {
		t.Fatal(err)
	}
}

// withFile puts an encrypted backup into dir, and the key that decrypts it.
func withFile(t *testing.T, dir string) {
	opened := placeIn(t, dir)
	recipients, err := offsite.ParseRecipients(opened.Recipients)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backupfile.Write(t.Context(), tarOf(t, opened), dir, copied, recipients); err != nil {
		t.Fatal(err)
	}
}

func tarOf(t *testing.T, opened *offsite.Opened) io.Reader {
	t.Helper()
	var tar bytes.Buffer
	if err := restorefrom.WriteTar(t.Context(), &tar, opened); err != nil {
		t.Fatal(err)
	}
	return &tar
}

// napHooks plays the commands that send and receive backups in a pod.
func napHooks(command []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var err error
	switch {
	case slices.Contains(command, "send"):
		content := "rows"
		sum := sha256.Sum256([]byte(content))
		err = backup.WriteTar(stdout, backup.Metadata{Name: copied, Files: map[string]backup.File{
			backup.DatabaseFile: {Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])},
		}}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil })
	default:
		_, err = backup.ReadTar(context.Background(), stdin, backup.Sink{
			Begin:  func(backup.Metadata) (bool, error) { return false, nil },
			Create: func(string) (io.WriteCloser, error) { return nowhere{io.Discard}, nil },
		})
	}
	level, message, code := "INFO", "backup complete", 0
	if err != nil {
		level, message, code = "ERROR", err.Error(), 1
	}
	fmt.Fprintf(stderr, "{\"level\":%q,\"msg\":%q}\n", level, message)
	return code
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// What commands that read copies refuse.
func TestCopiesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	placeIn(t, dir)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"other.txt": other.String() + "\n", "none.txt": "no key\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(install(t), "bin")
	program(t, bin, "pg_restore", "echo '1; 0 TABLE DATA public users nap'")
	for line, want := range map[string]example{
		"helm-neutree backup list --endpoint https://s3.example.com": {exit: 2, stderr: "--endpoint goes with --from"},
		"helm-neutree backup list --from ./none":                     {exit: 2, stderr: "there is no such folder"},
		"helm-neutree backup list --from .":                          {exit: 2, stderr: "there are no copies of backups in .: name the place"},
		"helm-neutree backup list --from backups --release other":    {exit: 2, stderr: "choose one with --release, of nap.neutree [backup.release]"},
		"helm-neutree backup list --from backups -o json":            {stdout: `"schema": "127_x"`},
		"helm-neutree backup verify":                                 {exit: 2, stderr: "--from is missing"},
		"helm-neutree backup verify x --from backups":                {exit: 2, stderr: "there is no copy of backup x"},
		"helm-neutree backup verify --from backups --identity other.txt": {exit: 2,
			stderr: "is not encrypted for this identity: use the private key of one of the recipients"},
		"helm-neutree backup verify --from backups --identity none.txt":    {exit: 2, stderr: "none.txt contains no private key of age"},
		"helm-neutree backup verify --from backups --identity - < key.txt": {stderr: "the copy is decrypted"},
		"helm-neutree backup pull " + copied + " x -n nap": {exit: 2,
			stderr: "give either --recipient with a public key of age, or --plain"},
		"helm-neutree backup pull " + copied + " x --from backups --plain":         {exit: 2, stderr: "--identity is missing"},
		"helm-neutree backup pull " + copied + " x --recipient \"$(cat key.txt)\"": {exit: 2, stderr: "recipient 1 is a private key"},
		"helm-neutree backup push x.tar.age -n nap": {cluster: withBackups, exit: 2,
			stderr: "x.tar.age is encrypted: name the file with the private key of age with --identity"},
		"helm-neutree backup push backups -n nap":             {cluster: withBackups, exit: 2, stderr: "it has no backup.json: name the folder that has this file [backup.missing]"},
		"helm-neutree backup restore latest -n nap --dry-run": {exit: 2, stderr: "--dry-run goes with --from"},
		"helm-neutree backup restore latest -n nap --from backups --identity key.txt --abandon": {exit: 2,
			stderr: "--abandon and --no-safety-backup are for backups in the cluster"},
		"helm-neutree backup restore latest -n nap --from backups --identity key.txt --values-out values.yaml": {exit: 2,
			stderr: "file values.yaml is there already"},
		"helm-neutree backup restore latest -n nap --from backups --identity key.txt --chart nowhere --dry-run": {cluster: emptyCluster,
			exit: 1, stderr: "there is no chart at nowhere"},
		"helm-neutree backup restore latest -n nap --from backups --identity key.txt": {cluster: emptyCluster, input: "no\n", exit: 2,
			stderr: "nothing was changed"},
	} {
		t.Run(line, func(t *testing.T) {
			want.before = func(t *testing.T, to string) {
				for _, name := range []string{"backups", "key.txt", "other.txt", "none.txt"} {
					if err := os.Symlink(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			want.run(t, line, bin, restorefromtest.New(t).Chart)
		})
	}
}

// The saved values are a file of the person's alone.
func TestValuesOut(t *testing.T) {
	want := example{before: withCopies, files: map[string]string{"mine.yaml": "host: nap.example.com"}}
	want.run(t, "helm-neutree backup restore latest --from backups --identity key.txt --values-out mine.yaml && "+
		"test $(stat -c %a mine.yaml) = 600", filepath.Join(install(t), "bin"), restorefromtest.New(t).Chart)
}
