// Package probe starts short-lived pods and collects what they find.
package probe

// Session is one run's probe pods.
type Session struct{}
