package rotate

// Kind is one of the rotations that there are.
type Kind struct {
	Name string
	// Notice says what users notice of it.
	Notice string
	// Module is the value that turns on what has the keys, "" for what every release has.
	Module string
}

// Kinds are all rotations, in the order in which people are shown them.
func Kinds() []Kind {
	return []Kind{
		{Name: "jwt", Notice: "all users are logged out and have to log in again"},
		{Name: "service-key", Notice: "nothing; for some seconds calls from the scheduler to the control plane are refused"},
		{Name: "sandbox", Module: "global.modules.sandbox.enabled",
			Notice: "users of the sandbox pages are logged out of them; for some seconds no new browser can be opened"},
		{Name: "browser", Module: "global.modules.browser.enabled",
			Notice: "users of the browser pages are logged out of them"},
		{Name: "turn", Module: "global.modules.browser.enabled",
			Notice: "live views of browsers that are open lose their connection, and have to be opened again"},
	}
}

// Names are those of all rotations.
func Names() []string {
	var names []string
	for _, kind := range Kinds() {
		names = append(names, kind.Name)
	}
	return names
}

func kindOf(name string) (Kind, bool) {
	for _, kind := range Kinds() {
		if kind.Name == name {
			return kind, true
		}
	}
	return Kind{}, false
}
