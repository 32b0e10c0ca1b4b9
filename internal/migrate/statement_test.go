package migrate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"empty":           {" \n-- nothing\n/* at; all */", nil},
		"empty between":   {"SELECT 1;;; SELECT 2", []string{"SELECT 1", "SELECT 2"}},
		"quotes":          {`SELECT 'a;''b;', "c;""d"; SELECT 2;`, []string{`SELECT 'a;''b;', "c;""d"`, "SELECT 2"}},
		"backslash":       {`SELECT 'a\'; SELECT E'b\';c'; SELECT 3`, []string{`SELECT 'a\'`, `SELECT E'b\';c'`, "SELECT 3"}},
		"dollar":          {"DO $$ a; b $$; DO $x$ $$;$y$; $x$; SELECT $1; SELECT a$b; SELECT 5", []string{"DO $$ a; b $$", "DO $x$ $$;$y$; $x$", "SELECT $1", "SELECT a$b", "SELECT 5"}},
		"comments":        {"SELECT 1 /* ; /* ; */ ; */ ; -- ;\nSELECT 2", []string{"SELECT 1 /* ; /* ; */ ; */", "SELECT 2"}},
		"rule":            {"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", []string{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", "SELECT 3"}},
		"atomic":          {"CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END; SELECT 3", []string{"CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END", "SELECT 3"}},
		"begin elsewhere": {"BEGIN; SELECT 1; END; SELECT atomic", []string{"BEGIN", "SELECT 1", "END", "SELECT atomic"}},
		"unclosed":        {"SELECT 1; SELECT 'abc; SELECT 2", []string{"SELECT 1", "SELECT 'abc; SELECT 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range split(c.sql) {
				got = append(got, c.sql[s.start:s.end])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("SELECT 'a'; /* x */ DO $$ y $$;")
	f.Fuzz(func(t *testing.T, sql string) {
		last := 0
		for _, s := range split(sql) {
			if s.start < last || s.end <= s.start || s.end > len(sql) {
				t.Fatalf("spans out of order in %q: %v", sql, split(sql))
			}
			last = s.end
		}
	})
}
