package backup

import "slices"

// prune deletes the oldest backups of a kind beyond the retention, but none of those named.
func (b *Backup) prune(kind Kind, keep ...string) error {
	list, damaged, err := b.List()
	if err != nil {
		return err
	}
	for _, d := range damaged {
		b.Log.Warn(d)
	}
	list = slices.DeleteFunc(list, func(m Metadata) bool { return m.Kind != kind })
	if kind == Upgrade && len(list) > 0 {
		list = byUse(list)
		keep = append(keep, list[0].Name)
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

// byUse sorts backups that were made before upgrades, the newest first, by their use: the first of the series that
// may not be over yet, the newest, the first of each earlier series, and then what failed attempts have left.
func byUse(list []Metadata) []Metadata {
	first := firstOf(list, list[0])
	rank := func(m Metadata) int {
		switch {
		case m.Name == first:
			return 0
		case m.Name == list[0].Name:
			return 1
		case m.Series == "" || m.Series == m.Name:
			return 2
		}
		return 3
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(x, y Metadata) int { return rank(x) - rank(y) })
	return sorted
}
