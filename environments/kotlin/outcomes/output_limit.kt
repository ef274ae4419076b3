fun main() {
    while (true) {
        println("All work and no play makes Jack a dull boy.")
    }
}
