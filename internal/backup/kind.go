package backup

import "strings"

// Kind is what a backup was made for. Each kind has a retention of its own, so that backups which are made
// automatically never delete one that a person made.
type Kind string

// The kinds of backups.
const (
	// Manual is one that a person, or a CronJob of theirs, asked for.
	Manual Kind = "manual"
	// Scheduled is one that global.backup.schedule asked for.
	Scheduled Kind = "scheduled"
	// Upgrade is one that an upgrade makes before it migrates.
	Upgrade Kind = "upgrade"
	// Restore is one that a restore makes of what it replaces.
	Restore Kind = "restore"
)

// The prefixes of the names of automatic backups.
const (
	restorePrefix   = "before-restore-"
	automaticPrefix = "before-"
	scheduledPrefix = "scheduled-"
)

// KindOf returns the kind of the backup called name: only automatic ones are called "before" something, or "scheduled".
func KindOf(name string) Kind {
	switch {
	case strings.HasPrefix(name, scheduledPrefix):
		return Scheduled
	case strings.HasPrefix(name, restorePrefix):
		return Restore
	case strings.HasPrefix(name, automaticPrefix):
		return Upgrade
	}
	return Manual
}
