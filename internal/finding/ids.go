package finding

// The IDs of what hooks and commands refuse. Where preflight finds the same beforehand, its check has the same ID.
// docs/preflight.md and docs/findings.md explain each of them.
const (
	AdmissionPodSecurity ID = "admission.pod-security"
	AdmissionPolicy      ID = "admission.policy"
	AdmissionPriority    ID = "admission.priority"
	AdmissionQuota       ID = "admission.quota"

	BackupBusy          ID = "backup.busy"
	BackupDamaged       ID = "backup.damaged"
	BackupHalfRestored  ID = "backup.half-restored"
	BackupKey           ID = "backup.key"
	BackupMissing       ID = "backup.missing"
	BackupNewer         ID = "backup.newer"
	BackupNotConfirmed  ID = "backup.not-confirmed"
	BackupPrograms      ID = "backup.programs"
	BackupRelease       ID = "backup.release"
	BackupSchedule      ID = "backup.schedule"
	BackupServer        ID = "backup.server"
	BackupServices      ID = "backup.services-started"
	BackupSnapshot      ID = "backup.snapshot"
	BackupSpace         ID = "backup.space"
	BackupUnfinished    ID = "backup.unfinished-restore"
	BackupWrongDatabase ID = "backup.wrong-database"

	CNPGOperator       ID = "cnpg.operator"
	CNPGOtherDatabases ID = "cnpg.other-databases"
	CNPGWebhook        ID = "cnpg.webhook"

	DatabaseExternal ID = "database.external"
	DatabaseLogin    ID = "database.login"
	DatabaseOwner    ID = "database.owner"
	DatabaseServer   ID = "database.server"

	ExposureNodePortFree  ID = "exposure.node-port-free"
	ExposureNodePortRange ID = "exposure.node-port-range"

	ImagesContent ID = "images.content"
	ImagesPull    ID = "images.pull"
	ImagesSecret  ID = "images.secret"

	MigrationsFailed ID = "migrations.failed"
	MigrationsLocked ID = "migrations.locked"

	NodesMatch ID = "nodes.match"

	PodsEvicted ID = "pods.evicted"
	PodsFailed  ID = "pods.failed"
	PodsStart   ID = "pods.start"

	RBACHook ID = "rbac.hook"

	SecretsAddress      ID = "secrets.database-address"
	SecretsBusy         ID = "secrets.busy"
	SecretsGiven        ID = "secrets.given"
	SecretsImmutable    ID = "secrets.immutable"
	SecretsLeaked       ID = "secrets.leaked"
	SecretsModule       ID = "secrets.module"
	SecretsNotRestarted ID = "secrets.not-restarted"
	SecretsOwner        ID = "secrets.other-owner"
	SecretsRelease      ID = "secrets.release"
	SecretsRotateGiven  ID = "secrets.rotate-given"
	SecretsShared       ID = "secrets.shared"
	SecretsUsable       ID = "secrets.usable"

	StorageBinding ID = "storage.binding"
	StorageClaims  ID = "storage.claims"
	StorageClass   ID = "storage.class"
	StorageMount   ID = "storage.mount"
	StorageNode    ID = "storage.node"
	StorageShared  ID = "storage.shared-source"

	TeardownIncomplete ID = "teardown.incomplete"
	TeardownOperator   ID = "teardown.operator"

	TestLogin    ID = "test.login"
	TestServices ID = "test.services"

	UpgradeCancelled      ID = "upgrade.cancelled"
	UpgradeDatabaseChange ID = "upgrade.database-change"
	UpgradeDatabaseMajor  ID = "upgrade.database-major"
	UpgradeDatabaseSilent ID = "upgrade.database-silent"
	UpgradeDatabaseValues ID = "upgrade.database-values"
	UpgradeEncryptionKey  ID = "upgrade.encryption-key"
	UpgradeKeptDatabase   ID = "upgrade.kept-database"
	UpgradeOlderImages    ID = "upgrade.older-images"
	UpgradeRelease        ID = "upgrade.release"
	UpgradeRename         ID = "upgrade.rename"
	UpgradeRollback       ID = "upgrade.rollback"
	UpgradeSecret         ID = "upgrade.secret"
)
