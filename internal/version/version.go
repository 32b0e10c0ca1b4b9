// Package version tells which build of this project is running.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is stamped by the linker from plugin.yaml, the one place that names it.
var version = "0.0.0-dev"

// Info describes a build.
type Info struct {
	// Version is the SemVer of plugin.yaml, or 0.0.0-dev for an unstamped build.
	Version string `json:"version"`
	// Commit is the revision of the source, empty where the build did not record one.
	Commit string `json:"commit,omitempty"`
	// Go is the toolchain, e.g. "go1.26.8".
	Go string `json:"go"`
	// Platform is the target, e.g. "linux/amd64".
	Platform string `json:"platform"`
}

// Get reads the running binary's build information.
func Get() Info {
	info := Info{
		Version:  version,
		Go:       runtime.Version(),
		Platform: fmt.Sprintf("%s/%s", runtime.GOOS, runtime.GOARCH),
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range build.Settings {
			if setting.Key == "vcs.revision" {
				info.Commit = setting.Value
			}
		}
	}
	return info
}

// String is the one-line form that commands print.
func (i Info) String() string {
	if i.Commit == "" {
		return fmt.Sprintf("%s (%s, %s)", i.Version, i.Go, i.Platform)
	}
	return fmt.Sprintf("%s (commit %.12s, %s, %s)", i.Version, i.Commit, i.Go, i.Platform)
}
