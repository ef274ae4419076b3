public class TimedOutCpu {
    public static void main(String[] args) {
        System.out.println("spinning");
        for (;;) {
        }
    }
}
