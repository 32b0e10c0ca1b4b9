package backup

import (
	"cmp"
	"fmt"
	"time"
)

// clear is the beginning of a restore's script.
func (b *Backup) clear() string {
	return fmt.Sprintf("SET lock_timeout = %d;\n", cmp.Or(b.LockTimeout, 15*time.Second).Milliseconds()) + dropAll
}

// dropAll begins a transaction and drops everything that the platform's role owns in the database: what a newer release
// added as well, which the dump's own list would miss. What belongs to others stays, such as the schema public itself
// and extensions that an administrator or the operator made. The role needs no right but to own its objects.
const dropAll = `SET client_min_messages = error;
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
BEGIN;
DO $clear$
DECLARE
  me oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user);
  one record;
BEGIN
  FOR one IN SELECT nspname FROM pg_catalog.pg_namespace
    WHERE nspowner = me AND nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_' ORDER BY 1
  LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', one.nspname);
  END LOOP;
  FOR one IN SELECT extname FROM pg_catalog.pg_extension WHERE extowner = me AND extname <> 'plpgsql' ORDER BY 1
  LOOP
    EXECUTE format('DROP EXTENSION %I CASCADE', one.extname);
  END LOOP;
  FOR one IN
    SELECT c.relname AS name, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
        WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END AS kind
      FROM pg_catalog.pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = me AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     ORDER BY c.oid
  LOOP
    EXECUTE format('DROP %s IF EXISTS public.%I CASCADE', one.kind, one.name);
  END LOOP;
  FOR one IN
    SELECT p.oid FROM pg_catalog.pg_proc p
     WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = me
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
     ORDER BY p.oid
  LOOP
    IF EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid = one.oid) THEN
      EXECUTE format('DROP %s %s CASCADE', (SELECT CASE prokind WHEN 'a' THEN 'AGGREGATE' ELSE 'ROUTINE' END FROM pg_catalog.pg_proc WHERE oid = one.oid), one.oid::regprocedure);
    END IF;
  END LOOP;
  FOR one IN
    SELECT t.typname FROM pg_catalog.pg_type t
     WHERE t.typnamespace = 'public'::regnamespace AND t.typowner = me AND t.typtype IN ('d', 'e', 'r')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
     ORDER BY t.oid
  LOOP
    EXECUTE format('DROP TYPE IF EXISTS public.%I CASCADE', one.typname);
  END LOOP;
  PERFORM lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE lomowner = me;
END
$clear$;
`
