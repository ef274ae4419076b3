import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

public class OutOfMemory {
    public static void main(String[] args) {
        List<byte[]> kept = new ArrayList<>();
        for (;;) {
            byte[] block = new byte[1_000_000];
            Arrays.fill(block, (byte) 'x');
            kept.add(block);
        }
    }
}
