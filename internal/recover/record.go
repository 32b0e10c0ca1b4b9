package recover

// record is one revision as Helm stores it. Only what is changed here has a name: another version of Helm may keep
// fields that this program does not know, and they must come through.
type record map[string]any

func (r record) info(key string) string {
	info, _ := r["info"].(map[string]any)
	text, _ := info[key].(string)
	return text
}

func (r record) setInfo(key, value string) {
	info, ok := r["info"].(map[string]any)
	if !ok {
		info = map[string]any{}
		r["info"] = info
	}
	info[key] = value
}
