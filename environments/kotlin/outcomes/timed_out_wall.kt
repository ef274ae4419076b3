fun main() {
    println("sleeping")
    Thread.sleep(3_600_000)
}
