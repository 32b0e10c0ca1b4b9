package prepare

import (
	"fmt"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
)

// timeZone refuses a time zone that there is not. The API server would refuse the CronJob of backups for it, when the
// database is migrated and some services are replaced, and the templates can't know the time zones.
func timeZone(name string) []finding.Finding {
	if name == "" {
		return nil
	}
	if _, err := time.LoadLocation(name); err == nil {
		return nil
	}
	return []finding.Finding{{
		ID: finding.BackupSchedule, Severity: finding.Error, Value: "global.backup.timeZone",
		Found: fmt.Sprintf("global.backup.timeZone %q is no time zone", name),
		Why:   "Kubernetes would refuse the CronJob of backups in the middle of the upgrade",
		Fix:   "use a name of the time zone database, such as Europe/Berlin or Etc/UTC, or none",
	}}
}
