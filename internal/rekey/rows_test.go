package rekey

import "testing"

// The memory that the Job takes is bounded by bytes: one user may store few large credentials, and many users small
// ones.
func TestBatchOf(t *testing.T) {
	for largest, want := range map[int64]int64{0: 1000, 1: 1000, 300: 1000, 16 << 10: 1000, 32 << 10: 512, 16 << 20: 1,
		1 << 30: 1} {
		if got := batchOf(largest); got != want {
			t.Errorf("%d bytes: %d, want %d", largest, got, want)
		}
	}
}
