-- What is typed afterwards is SQL as well, and is answered at once.
CREATE TABLE learners (name TEXT);

SELECT 'Who are you?';
