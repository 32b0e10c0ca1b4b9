// Package soak divides a long series of trials into parts, and makes what is random in each trial repeatable.
package soak

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Variables of the environment that choose a part of the series, and the seed of what is random.
const (
	PartVariable = "PART"
	SeedVariable = "SEED"
)

// Part is one of several shares of a series, which are as equal as they can be.
type Part struct{ Number, Of int }

// ParsePart reads N/M, the first part being 1. An empty text is the whole series.
func ParsePart(text string) (Part, error) {
	if text == "" {
		return Part{Number: 1, Of: 1}, nil
	}
	number, of, _ := strings.Cut(text, "/")
	n, errN := strconv.Atoi(number)
	m, errM := strconv.Atoi(of)
	if errN != nil || errM != nil || n < 1 || n > m {
		return Part{}, fmt.Errorf("%s is %q: write N/M, as 2/5 for the second of five parts", PartVariable, text)
	}
	return Part{Number: n, Of: m}, nil
}

// Has says whether the trial with this index belongs to the part.
func (p Part) Has(index int) bool { return index%p.Of == p.Number-1 }

// String is what ParsePart reads.
func (p Part) String() string { return fmt.Sprintf("%d/%d", p.Number, p.Of) }

// ParseSeed reads a seed. An empty text asks for another one each time.
func ParseSeed(text string) (uint64, error) {
	if text == "" {
		return uint64(time.Now().UnixNano()), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is %q: write the number that an earlier run printed", SeedVariable, text)
	}
	return seed, nil
}

// Rand is the source of what is random in a trial. It depends on nothing but the seed and the trial's name, so a trial
// can be repeated alone.
func Rand(seed uint64, trial string) *rand.Rand {
	hash := fnv.New64a()
	hash.Write([]byte(trial)) //nolint:errcheck // A hash has no error.
	return rand.New(rand.NewPCG(seed, hash.Sum64()))
}
