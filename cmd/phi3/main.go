// Command phi3 runs Microsoft's Phi-3 family of language models from Hugging Face checkpoints.
package main

import (
	"os"

	"phi3/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
