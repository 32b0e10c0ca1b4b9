package preflight

// Refused says of findings that one of the chart's own hooks would refuse with that nothing will have been changed.
func Refused(findings []Finding) []Finding {
	for i := range findings {
		if findings[i].Why == "" {
			findings[i].Why = "a hook refuses it before anything is changed"
		}
	}
	return findings
}
