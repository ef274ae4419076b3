CREATE TABLE kept (block BLOB);

WITH RECURSIVE counter(n) AS (
    SELECT 1
    UNION ALL
    SELECT n + 1 FROM counter
)
INSERT INTO kept SELECT zeroblob(1000000) FROM counter;
