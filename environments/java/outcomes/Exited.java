public class Exited {
    public static void main(String[] args) {
        int code = Integer.parseInt(args[0]);
        System.out.println("leaving with " + code);
        System.exit(code);
    }
}
