import kotlin.system.exitProcess

fun main(args: Array<String>) {
    val code = args[0].toInt()
    println("leaving with $code")
    exitProcess(code)
}
