// Package afs plays the shared file system: its controller, which keeps one database file, and the sidecar
// that would mount it into a workspace.
package afs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/BurntSushi/toml"

	"github.com/neutree-ai/packaging/test/standin/internal/network"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

type controllerFile struct {
	Server struct {
		Listen string `toml:"listen"`
	} `toml:"server"`
	Storage struct {
		Path string `toml:"db_path"`
	} `toml:"storage"`
}

// CLI stands for the image's default program, which serves nothing. With "sql FILE STATEMENT..." it changes the
// controller's database as its clients would, and prints what directories it holds.
func CLI(p *process.Process) error {
	if len(p.Args) > 1 && p.Args[0] == "sql" {
		return change(context.Background(), os.Stdout, p.Args[1], p.Args[2:])
	}
	return errors.New("name the program to run: afs-controller CONFIG.toml or afs-fuse CONFIG.toml")
}

// Controller runs with one argument, its TOML file, until it is killed: it has no signal handler.
func Controller(p *process.Process) error {
	if len(p.Args) != 1 {
		return fmt.Errorf("usage: afs-controller CONFIG.toml, not %q", p.Args)
	}
	var file controllerFile
	if err := decode(p.Args[0], &file); err != nil {
		return err
	}
	switch {
	case file.Storage.Path == "":
		return fmt.Errorf("%s: storage.db_path is missing", p.Args[0])
	case checkListen(file.Server.Listen) != nil:
		return fmt.Errorf("%s: server.listen: %w", p.Args[0], checkListen(file.Server.Listen))
	}
	ctx, stop := process.Hear()
	defer stop()
	db, err := openDatabase(ctx, file.Storage.Path)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // The process ends with it.
	p.Log.Info("listening", "address", file.Server.Listen, "database", file.Storage.Path)
	return network.Accept(ctx, file.Server.Listen)
}

func decode(path string, into any) error {
	meta, err := toml.DecodeFile(path, into)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("%s: unknown key %s", path, unknown[0])
	}
	return nil
}

func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return errors.New("is missing")
	case err != nil:
		return err
	case port == "":
		return errors.New("names no port")
	case host == "localhost" || host != "" && net.ParseIP(host).IsLoopback():
		return fmt.Errorf("%s can't be reached by other pods", address)
	}
	return nil
}
