cat("sleeping\n")
Sys.sleep(3600)
