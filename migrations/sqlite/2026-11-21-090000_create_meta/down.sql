DROP TABLE identity;
DROP TABLE meta;
