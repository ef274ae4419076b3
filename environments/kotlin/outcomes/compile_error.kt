fun main() {
    val number: Int = "one"
}
