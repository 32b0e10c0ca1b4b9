package backup_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// copies is a store that notes what it is asked for.
type copies struct {
	copied, maintained []string
	// continued is how many backups there were each time before a copy.
	continued []int
	err       error
	// full says that the store has no room before Prune.
	full, pruned bool
	// during is called while a copy is made.
	during func(context.Context) error
}

func (c *copies) String() string { return "s3://bucket/prefix" }

func (c *copies) Copy(ctx context.Context, m backup.Metadata) error {
	c.copied = append(c.copied, m.Name)
	if c.during != nil {
		return c.during(ctx)
	}
	if c.full && !c.pruned {
		return hook.Refusef(finding.OffsiteFull, "", "it is full")
	}
	return c.err
}

func (c *copies) Continue(_ context.Context, list []backup.Metadata, _ func(context.Context, backup.Metadata) error) error {
	c.continued = append(c.continued, len(list))
	return nil
}

func (c *copies) Prune(context.Context, []backup.Metadata) error {
	c.pruned = true
	return nil
}

func (c *copies) Maintain(_ context.Context, list []backup.Metadata, _ func(context.Context, backup.Metadata) error) error {
	for _, m := range list {
		c.maintained = append(c.maintained, m.Name)
	}
	return nil
}

func TestABackupIsCopied(t *testing.T) {
	f := newFixture(t)
	store := &copies{}
	f.Copies = store
	for _, name := range []string{"first", "second"} {
		m, err := f.Create(t.Context(), name, "")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(m.Summary(), "copied to s3://bucket/prefix") {
			t.Errorf("it says %q", m.Summary())
		}
	}
	if strings.Join(store.copied, " ") != "first second" || strings.Join(store.maintained, " ") != "first second first" {
		t.Errorf("copied %v, looked after %v", store.copied, store.maintained)
	}
}

func TestACopyThatFails(t *testing.T) {
	refused := hook.Refusef(finding.OffsiteBucket, "create the bucket", "there is no such bucket")
	for _, test := range []struct {
		name string
		err  error
		code hook.Code
	}{
		{"by-hand", refused, hook.Refused},
		{"by-hand-2", hook.Failf(hook.Unexpected, finding.OffsiteUnreachable, "", "it can't be reached"), hook.Unexpected},
		{"by-hand-3", errors.New("something else"), hook.Unexpected},
		{"before-r4-20261101-020000", refused, hook.OK},
		{"before-restore-20261101-0200", refused, hook.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.Copies = &copies{err: test.err}
			m, err := f.Create(t.Context(), test.name, "")
			if hook.CodeOf(err) != test.code {
				t.Fatalf("exit code %d: %v", hook.CodeOf(err), err)
			}
			if _, rerr := f.Read(test.name); rerr != nil {
				t.Errorf("the backup is not there: %v", rerr)
			}
			says := m.Summary()
			if err != nil {
				says = err.Error()
				if !strings.Contains(says, "backup "+test.name+" is complete in PVC nap-backups, and was not copied") {
					t.Errorf("it says %q", says)
				}
			} else if !strings.Contains(f.said.String(), "a later backup makes up for it") {
				t.Errorf("it logs %q", f.said)
			}
			if ids := finding.Of(test.err).IDs(); len(ids) > 0 && !strings.Contains(says, ids[0]) {
				t.Errorf("%s is not in %q", ids[0], says)
			}
		})
	}
}

// Another pod of the same Job copies what one that was lost has made.
func TestTheCopyOfAScheduledBackupIsTriedAgain(t *testing.T) {
	f := newFixture(t)
	store := &copies{err: hook.Failf(hook.Unexpected, finding.OffsiteUnreachable, "", "it can't be reached")}
	f.Copies = store
	if _, err := f.CreateScheduled(t.Context(), "nap-scheduled-backup-1"); hook.CodeOf(err) != hook.Unexpected {
		t.Fatalf("want a failure, got %v", err)
	}
	store.err = nil
	m, err := f.CreateScheduled(t.Context(), "nap-scheduled-backup-1")
	if err != nil {
		t.Fatal(err)
	}
	if len(store.copied) != 2 || store.copied[0] != m.Name || store.copied[1] != m.Name {
		t.Errorf("copied %v, made %s", store.copied, m.Name)
	}
	if list, _, _ := f.List(); len(list) != 1 {
		t.Errorf("%d backups were made", len(list))
	}
}

// An upgrade or a restore does not wait for a copy that takes long: its context has an end.
func TestAnUpgradeDoesNotWaitForACopy(t *testing.T) {
	f := newFixture(t)
	f.Copies = &copies{during: func(ctx context.Context) error {
		if _, has := ctx.Deadline(); !has {
			t.Error("the copy may take as long as it wants")
		}
		return context.DeadlineExceeded
	}}
	if _, err := f.Create(t.Context(), "before-r4-20261101-020000", ""); err != nil {
		t.Error(err)
	}
}

// Copies beyond the retention are deleted where there is no room for a new one, and not only after it.
func TestACopyToAFullStore(t *testing.T) {
	for _, name := range []string{"by-hand", "before-r4-20261101-020000"} {
		f := newFixture(t)
		store := &copies{full: true}
		f.Copies = store
		m, err := f.Create(t.Context(), name, "")
		if err != nil || !strings.Contains(m.Summary(), "copied to s3://bucket/prefix") {
			t.Errorf("%q: %v", m.Summary(), err)
		}
		if !store.pruned || len(store.copied) != 2 {
			t.Errorf("deleted: %v, copied %v", store.pruned, store.copied)
		}
	}
}

func TestACopyThatTakesTooLong(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store := &copies{during: func(context.Context) error {
		late, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		return late.Err()
	}}
	f.Copies = store
	ctx = expired{ctx, func() bool { return len(store.copied) > 0 }}
	_, err := f.Create(ctx, "by-hand", "")
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "global.hooks.timeouts.backup") ||
		!strings.Contains(err.Error(), "backup by-hand is complete in PVC nap-backups, and was not copied") {
		t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
	}
	if len(store.continued) != 1 || store.continued[0] != 1 {
		t.Errorf("earlier copies were continued with %v backups", store.continued)
	}
	if !store.pruned {
		t.Error("copies beyond the retention were not deleted")
	}
}

// expired is a context whose time has passed as soon as is says so.
type expired struct {
	context.Context
	is func() bool
}

func (e expired) Err() error {
	if e.is() {
		return context.DeadlineExceeded
	}
	return e.Context.Err()
}
