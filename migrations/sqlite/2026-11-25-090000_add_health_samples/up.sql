-- Round trips of a point, for percentiles: a JSON list of at most 64 numbers, in milliseconds.
ALTER TABLE health_log ADD COLUMN samples TEXT;
