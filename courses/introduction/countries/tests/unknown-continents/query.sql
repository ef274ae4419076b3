SELECT continent, sum(millions) FROM countries GROUP BY continent HAVING count(*) > 1 ORDER BY 2;
