fun main() {
    // A program may not end its own process by ProcessHandle; a child of it may.
    ProcessBuilder("/bin/sh", "-c", "kill -KILL \$PPID").start().waitFor()
}
