import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class SumsTest {
    @Test void adds() { assertEquals(5, Sums.add(2, 3)); }
    @Test void doubles() { assertEquals(8, Sums.twice(4)); }
}
