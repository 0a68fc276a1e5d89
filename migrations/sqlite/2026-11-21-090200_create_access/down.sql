DROP TABLE web_sessions;
DROP TABLE api_keys;
