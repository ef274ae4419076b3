package main

import "runtime/debug"

func main() {
	debug.SetTraceback("crash") // a panic ends by a signal, not by an exit code
	var nowhere *int
	*nowhere = 1
}
