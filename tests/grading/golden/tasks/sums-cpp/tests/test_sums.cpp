#include <doctest/doctest.h>

int add(int one, int other);
int twice(int value);

TEST_CASE("adds") { CHECK(add(2, 3) == 5); }
TEST_CASE("doubles") { CHECK(twice(4) == 8); }
