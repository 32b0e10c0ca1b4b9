-- Skill content is compressed already.
ALTER TABLE skill_versions ALTER COLUMN content SET STORAGE EXTERNAL;
ALTER TABLE skill_sources ALTER COLUMN content SET STORAGE EXTERNAL;
