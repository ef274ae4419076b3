package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	input := bufio.NewScanner(os.Stdin)
	fmt.Print("Who are you? ")
	for input.Scan() {
		fmt.Printf("Hello, %s!\n", input.Text())
		fmt.Print("Who are you? ")
	}
	fmt.Println("Bye.")
}
