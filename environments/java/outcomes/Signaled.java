public class Signaled {
    public static void main(String[] args) throws Exception {
        // A program may not end its own process by ProcessHandle; a child of it may.
        new ProcessBuilder("/bin/sh", "-c", "kill -KILL $PPID").start().waitFor();
    }
}
