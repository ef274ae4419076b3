kept <- list()
repeat {
  kept[[length(kept) + 1]] <- rep(0, 1e6)
}
