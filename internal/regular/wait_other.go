//go:build !unix

package regular

// NoWait is a flag for os.OpenFile; here there are no named pipes in the file system to wait for.
const NoWait = 0
