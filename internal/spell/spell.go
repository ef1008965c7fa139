// Package spell compares words, to find which name a user has mistyped.
package spell

// Distance returns the number of bytes to insert, delete or change to turn a into b (the Levenshtein
// distance).
func Distance(a, b string) int {
	row := make([]int, len(b)+1) // distances from the bytes of a so far to every beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
