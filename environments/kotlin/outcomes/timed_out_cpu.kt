fun main() {
    println("spinning")
    while (true) {
    }
}
