package backup

// The files of one backup, for those that copy it: its description, and the databases.
const (
	MetadataFile = metadataFile
	DatabaseFile = databaseFile
	AFSFile      = afsFile
)

// FileNames are the names of all files that a backup may have.
func FileNames() []string { return []string{MetadataFile, DatabaseFile, AFSFile} }
