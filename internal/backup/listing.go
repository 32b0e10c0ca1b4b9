package backup

import (
	"encoding/json"
	"time"
)

// Listing is what a Job that lists backups leaves as its termination message.
type Listing struct {
	Backups []Entry  `json:"backups"`
	Damaged []string `json:"damaged,omitempty"`
	// More is how many older ones found no room in the message.
	More int `json:"more,omitempty"`
}

// Entry is one backup in a list.
type Entry struct {
	Name          string    `json:"name"`
	Time          time.Time `json:"time"`
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
			Name: m.Name, Time: m.Time, Reason: m.Reason, Chart: m.Chart, Revision: m.Revision, Schema: m.Head(),
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
