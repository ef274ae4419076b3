WITH RECURSIVE counter(n) AS (
    SELECT 1
    UNION ALL
    SELECT n + 1 FROM counter
)
SELECT 'All work and no play makes Jack a dull boy.' FROM counter;
