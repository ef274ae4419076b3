public class Sums {
    public static int add(int one, int other) { return one + other; }
    public static int twice(int value) { return 2 * value; }
}
