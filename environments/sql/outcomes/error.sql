SELECT 'before';
SELECT price FROM nowhere;
SELECT 'after';
