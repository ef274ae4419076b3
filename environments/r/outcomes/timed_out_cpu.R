cat("spinning\n")
while (TRUE) {
}
