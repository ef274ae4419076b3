stop("this cannot be")
