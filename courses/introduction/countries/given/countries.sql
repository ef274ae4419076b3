CREATE TABLE countries (name TEXT, continent TEXT, millions INTEGER);
INSERT INTO countries VALUES
    ('India', 'Asia', 1438),
    ('Japan', 'Asia', 124),
    ('Bhutan', 'Asia', 2),
    ('Brazil', 'Americas', 211),
    ('Canada', 'Americas', 40),
    ('Mexico', 'Americas', 136),
    ('Australia', 'Oceania', 26),
    ('Tuvalu', 'Oceania', 0),
    ('Iceland', 'Europe', 1);
