int add(int one, int other) { return one + other; }
int twice(int value) { return 2 * value; }
