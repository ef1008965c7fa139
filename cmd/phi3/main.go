// Command phi3 runs Microsoft's Phi-3 family of language models.
package main

func main() {}
