-- The shell of SQLite runs this; SQL itself has no signals.
.shell kill -SEGV $PPID
