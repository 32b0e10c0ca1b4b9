package backup

import "slices"

// prune deletes the oldest backups beyond the retention, but none of those named.
func (b *Backup) prune(keep ...string) error {
	list, damaged, err := b.List()
	if err != nil {
		return err
	}
	for _, d := range damaged {
		b.Log.Warn(d)
	}
	for _, m := range list[min(len(list), max(1, b.Spec.Retention)):] {
		if slices.Contains(keep, m.Name) {
			continue
		}
		if err := b.remove(m.Name); err != nil {
			return err
		}
	}
	return nil
}
