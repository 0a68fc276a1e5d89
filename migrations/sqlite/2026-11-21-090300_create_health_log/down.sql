DROP TABLE health_log;
