code <- as.integer(commandArgs(trailingOnly = TRUE)[1])
cat("leaving with ", code, "\n", sep = "")
quit(status = code)
