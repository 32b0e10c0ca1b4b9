package migrate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// File is one migration: a file of SQL and the id that its ledger knows it by.
type File struct {
	Source platform.MigrationSource
	Path   string
	ID     string
}

// Name is the file's name with its source, as messages show it.
func (f File) Name() string { return f.Source.Name + "/" + filepath.Base(f.Path) }

// ReadFolders lists the files of all folders in the order in which they are applied. A folder
// without a migration is an error: every image has some, so the copy went wrong.
func ReadFolders(folders []hook.Migration) ([]File, error) {
	var files []File
	seen := map[string]string{}
	for _, folder := range folders {
		source, err := platform.FindMigrationSource(folder.Source)
		if err != nil {
			return nil, hook.Errorf(hook.Usage, "%w", err)
		}
		names, err := sqlFiles(folder.Dir)
		if err != nil {
			return nil, hook.Errorf(hook.Usage, "migrations of %s: %w; they must be copied from %s of the image global.images.%s",
				source.Name, err, source.Dir, source.ImageKey)
		}
		for _, name := range names {
			f := File{Source: source, Path: filepath.Join(folder.Dir, name), ID: source.IDPrefix + strings.TrimSuffix(name, ".sql")}
			key := source.Ledger() + " " + f.ID
			if other, ok := seen[key]; ok {
				return nil, hook.Errorf(hook.Usage, "%s and %s would both be %q in the ledger %s", other, f.Path, f.ID, source.Ledger())
			}
			seen[key] = f.Path
			files = append(files, f)
		}
	}
	return files, nil
}

// sqlFiles returns the names of the SQL files in dir in the platform's order.
func sqlFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".sql") && !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the folder %s holds no .sql file", dir)
	}
	slices.SortFunc(names, compareAsJavaScript)
	return names, nil
}

// compareAsJavaScript orders as JavaScript's sort does, by UTF-16 code units: the services sort so.
func compareAsJavaScript(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}
