package main

import "fmt"

func main() {
	for {
		fmt.Println("All work and no play makes Jack a dull boy.")
	}
}
