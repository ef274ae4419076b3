public class TimedOutWall {
    public static void main(String[] args) throws InterruptedException {
        System.out.println("sleeping");
        Thread.sleep(3_600_000);
    }
}
