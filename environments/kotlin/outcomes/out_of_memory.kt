fun main() {
    val kept = mutableListOf<ByteArray>()
    while (true) {
        kept.add(ByteArray(1_000_000) { 'x'.toByte() })
    }
}
