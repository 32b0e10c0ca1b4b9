package teardown

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/internal/restorenote"
)

// removeRestoreNote ends a restore or a rotation that did not end: its services are gone. The database may be half
// restored, or its credentials may have another key than the Secret, which the one who installs again has to know.
func (t *Teardown) removeRestoreNote(ctx context.Context, deletes bool) {
	name := t.Spec.RestoreNote
	if name == "" {
		return
	}
	note, config, err := restorenote.Read(ctx, t.Client, t.Spec.Namespace, name)
	if err == nil && config == nil {
		return
	}
	switch {
	case err != nil:
		t.warn("read the note of a restore", err)
	case !deletes && note.Rotation != "":
		t.note("the rotation of "+note.Rotation+" did not end", fmt.Sprintf("Secret %[1]s in namespace %[2]s is kept with "+
			"the data and has the old key and the new one; if the next install is refused because of the encryption key, copy "+
			"the old one from there into the Secret that the message names, and after the install run helm neutree secrets "+
			"rotate %[3]s --namespace %[2]s", t.Spec.Keyring, t.Spec.Namespace, note.Rotation))
	case note.Rotation != "":
	case !deletes && note.Phase != restorenote.Preparing && note.Phase != restorenote.Stopping &&
		note.Phase != restorenote.Restored:
		t.note("a restore did not end", fmt.Sprintf("the databases that are kept may be half of backup %s and half of "+
			"what was there before; restore it again after the next install", note.Backup))
	}
	if err := restorenote.Delete(ctx, t.Client, t.Spec.Namespace, name); err != nil {
		t.warn("delete the note of a restore", err)
	}
}
