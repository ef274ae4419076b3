public class Sums {
    static int add(int a, int b) { return a + b; }
    static int twice(int a) { return a; }
}
