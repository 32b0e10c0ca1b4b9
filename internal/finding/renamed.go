package finding

// Renamed is an ID or a topic that got another name. The old name never gets another meaning.
type Renamed struct {
	Old, New string
	// Until is the last minor version that accepts the old name, with a warning.
	Until string
}

// Renames are all of them.
func Renames() []Renamed {
	return []Renamed{
		{"psa", "admission.pod-security", "0.2"},
		{"psa.level", "admission.pod-security", "0.2"},
		{"quota", "admission.quota", "0.2"},
		{"quota.limits", "admission.quota", "0.2"},
		{"relay", "turn", "0.2"},
		{"relay.ports", "turn.ports", "0.2"},
		{"relay.ports-free", "turn.ports-free", "0.2"},
		{"relay.reach", "turn.reach", "0.2"},
	}
}

// CurrentName finds what an old name is called now.
func CurrentName(old string) (Renamed, bool) {
	for _, renamed := range Renames() {
		if renamed.Old == old {
			return renamed, true
		}
	}
	return Renamed{}, false
}
