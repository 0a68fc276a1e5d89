ALTER TABLE health_log DROP COLUMN samples;
