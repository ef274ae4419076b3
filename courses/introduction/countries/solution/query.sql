SELECT continent, sum(millions) AS people
FROM countries
WHERE continent IS NOT NULL
GROUP BY continent
HAVING count(*) >= 2
ORDER BY people;
