"""Names of a format are quoted as they are."""

X = "%(a\nstyle.py\t²\tE1\tz\ud800)s" % {}
