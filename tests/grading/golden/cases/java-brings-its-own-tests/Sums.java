import org.junit.jupiter.api.Test;

public class Sums {
    static int add(int a, int b) { return 0; }
    static int twice(int a) { return 0; }
}

class AnotherTest {
    @Test void adds() {}
    @Test void doubles() {}
}
