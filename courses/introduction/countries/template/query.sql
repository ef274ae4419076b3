SELECT name, continent, millions FROM countries;
