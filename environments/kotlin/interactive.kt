fun ask(): String? {
    print("Who are you? ")
    return readLine()
}

fun main() {
    var name = ask()
    while (name != null) {
        println("Hello, $name!")
        name = ask()
    }
    println("Bye.")
}
