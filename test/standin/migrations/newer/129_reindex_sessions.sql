-- Blocks writers for a moment, and needs the table's owner.
REINDEX TABLE public.sessions;
