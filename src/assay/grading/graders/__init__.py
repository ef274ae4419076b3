"""One module for each kind of part: what it is worth, of one submission."""
