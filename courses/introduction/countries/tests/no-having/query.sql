SELECT continent, sum(millions) FROM countries GROUP BY continent ORDER BY 2;
