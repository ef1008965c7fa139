//go:build cuda && linux && cgo

package cuda

const testAhead = "^TestAhead$/^few$"

// aheadMutants are mistakes in how a step passes its ids to the next one.
var aheadMutants = []mutant{
	{
		"ahead: a stale id", "argmax.cu",
		"if (lane == 0)\n\t\targs.next[", "if (lane == 0 && g.id % 2 == 0)\n\t\targs.next[", testAhead,
		wrongResult,
	},
	{
		"ahead: a negative id", "embed.cu",
		"max(args.ids[blockIdx.x], 0)", "args.ids[blockIdx.x]", "^TestEmbedAndCopyRows$", outside,
	},
}
