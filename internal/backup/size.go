package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// spare is how much more a dump may take than the last one's share of the database lets expect.
const spare = 1.25

// checkSpace refuses a backup that would not fit. A dump is compressed and holds no indexes, so the database's own size
// is the most it can take; once there is an earlier one, that tells better.
func (b *Backup) checkSpace(database, afs int64, last *Metadata) error {
	free, size, err := b.freeSpace()
	if err != nil {
		return err
	}
	need := database
	if last != nil && last.DatabaseBytes > 0 {
		need = min(need, int64(float64(last.Files[databaseFile].Bytes)/float64(last.DatabaseBytes)*float64(database)*spare))
	}
	if need+afs <= free {
		return nil
	}
	return hook.Refusef(finding.BackupSpace,
		"raise global.backup.size, keep fewer with global.backup.retention, or delete one with "+
			"helm neutree backup delete",
		"the backup would not fit: the database holds %s and its backup may take %s, but of the %s of claim %s only %s are free",
		Size(database), Size(need+afs), Size(size), b.Spec.Claim, Size(free))
}

// full explains an error of a volume that has no room left, which checkSpace could not foresee: something else may
// write to it. Other errors are returned as they are.
func (b *Backup) full(err error) error {
	var code interface{ Code() int }
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.As(err, &code) && code.Code()&0xff == sqliteFull
	if !full || hook.CodeOf(err) != hook.Unexpected {
		return err
	}
	return hook.Refusef(finding.BackupSpace,
		"raise global.backup.size, or delete a backup with helm neutree backup delete",
		"the volume of PVC %s is full: %v; the incomplete backup was removed, and the others are as they were",
		b.Spec.Claim, err)
}

// freeSpace is what is left of the claim, and what the claim asked for. Some provisioners hand out a folder of a much
// larger disk, so what the claim asked for counts as well as what the file system says.
func (b *Backup) freeSpace() (free, size int64, err error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(b.Spec.Dir, &stat); err != nil {
		return 0, 0, fmt.Errorf("ask for the free space of claim %s: %w", b.Spec.Claim, err)
	}
	free = int64(stat.Bavail) * stat.Bsize
	asked, err := resource.ParseQuantity(b.Spec.Size)
	if err != nil {
		return 0, 0, hook.Errorf(hook.Usage, "global.backup.size %q is no size such as 10Gi: %w", b.Spec.Size, err)
	}
	used, err := usedBytes(b.Spec.Dir)
	if err != nil {
		return 0, 0, fmt.Errorf("measure the backups in claim %s: %w", b.Spec.Claim, err)
	}
	return max(0, min(free, asked.Value()-used)), asked.Value(), nil
}

func usedBytes(dir string) (int64, error) {
	var used int64
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			// The volume's own folders need not be ours to read.
			if path != dir && os.IsPermission(err) {
				return fs.SkipDir
			}
			return err
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			used += info.Size()
		}
		return nil
	})
	return used, err
}

// Size writes a number of bytes for people.
func Size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, prefix := float64(bytes)/unit, 0
	for value >= unit && prefix < 3 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[prefix])
}
