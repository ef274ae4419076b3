# Not stdin(), which in a script is the script itself.
input <- file("stdin", "r")
cat("Who are you? ")
while (length(name <- readLines(input, n = 1)) > 0) {
  cat("Hello, ", name, "!\n", sep = "")
  cat("Who are you? ")
}
cat("Bye.\n")
