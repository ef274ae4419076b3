public class OutputLimit {
    public static void main(String[] args) {
        for (;;) {
            System.out.println("All work and no play makes Jack a dull boy.");
        }
    }
}
