package backup

import (
	"encoding/json"
	"fmt"
	"time"
)

// Listing is what a Job that lists backups leaves as its termination message.
type Listing struct {
	Backups []Entry  `json:"backups"`
	Damaged []string `json:"damaged,omitempty"`
	// More is how many older ones found no room in the message.
	More int `json:"more,omitempty"`
}

// Saved is what a Job that makes a backup before an upgrade leaves as its termination message.
type Saved struct {
	Backup string `json:"backup"`
	// Earlier marks a backup of an earlier attempt, which serves this one as well.
	Earlier bool   `json:"earlier,omitempty"`
	Summary string `json:"summary"`
}

// Message says how Create ended that was to make the backup called name: in one sentence or, for what runs upgrades, as
// Saved.
func (m Metadata) Message(name string) (string, error) {
	if m.Kind != Upgrade {
		return m.Summary(), nil
	}
	saved := Saved{Backup: m.Name, Earlier: m.Name != name, Summary: m.Summary()}
	if saved.Earlier {
		saved.Summary = fmt.Sprintf("an earlier attempt saved the database at %s, and no migration was applied since (%s)",
			m.Time.UTC().Format(time.RFC3339), m.Summary())
	}
	raw, err := json.Marshal(saved)
	return string(raw), err
}

// ReadSaved reads the message of a Job that was to make a backup before an upgrade.
func ReadSaved(message string) Saved {
	var saved Saved
	if err := json.Unmarshal([]byte(message), &saved); err != nil || saved.Summary == "" {
		// The log replaces a message that could not be written.
		return Saved{Summary: message}
	}
	return saved
}

// Entry is one backup in a list.
type Entry struct {
	Name          string    `json:"name"`
	Time          time.Time `json:"time"`
	Kind          Kind      `json:"kind,omitempty"`
	Reason        string    `json:"reason,omitempty"`
	Chart         string    `json:"chart"`
	Revision      int       `json:"revision"`
	Schema        string    `json:"schema"`
	DatabaseBytes int64     `json:"databaseBytes"`
	Bytes         int64     `json:"bytes"`
	AFS           bool      `json:"afs"`
}

// messageRoom is a little less than Kubernetes keeps of a termination message.
const messageRoom = 3900

// Message encodes what List found, leaving out the oldest where there is no room for all.
func Message(list []Metadata, damaged []string) (string, error) {
	listing := Listing{Backups: []Entry{}, Damaged: damaged}
	for _, m := range list {
		_, afs := m.Files[afsFile]
		listing.Backups = append(listing.Backups, Entry{
			Name: m.Name, Time: m.Time, Kind: m.Kind, Reason: m.Reason, Chart: m.Chart, Revision: m.Revision, Schema: m.Head(),
			DatabaseBytes: m.DatabaseBytes, Bytes: m.Bytes, AFS: afs,
		})
	}
	for {
		raw, err := json.Marshal(listing)
		if err != nil || len(raw) <= messageRoom {
			return string(raw), err
		}
		switch {
		case len(listing.Damaged) > 1:
			listing.Damaged = listing.Damaged[:len(listing.Damaged)-1]
		case len(listing.Backups) > 0:
			listing.Backups = listing.Backups[:len(listing.Backups)-1]
			listing.More++
		default:
			listing.Damaged = nil
		}
	}
}
