package soak_test

import (
	"fmt"
	"testing"

	"github.com/neutree-ai/packaging/test/soak"
)

func TestPartsShareAllTrials(t *testing.T) {
	const trials = 137
	for _, of := range []int{1, 2, 5, 7} {
		taken := map[int]int{}
		for n := 1; n <= of; n++ {
			part, err := soak.ParsePart(fmt.Sprintf("%d/%d", n, of))
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for i := range trials {
				if part.Has(i) {
					taken[i]++
					size++
				}
			}
			if size < trials/of || size > trials/of+1 {
				t.Errorf("part %s has %d of %d trials", part, size, trials)
			}
		}
		for i := range trials {
			if taken[i] != 1 {
				t.Errorf("of %d parts %d have trial %d", of, taken[i], i)
			}
		}
	}
}

func TestParse(t *testing.T) {
	if part, err := soak.ParsePart(""); err != nil || part.String() != "1/1" {
		t.Errorf("no part: %v, %v", part, err)
	}
	for _, text := range []string{"0/3", "4/3", "2", "a/b", "1/2/3", "-1/2"} {
		if part, err := soak.ParsePart(text); err == nil {
			t.Errorf("%q is part %v", text, part)
		}
	}
	if seed, err := soak.ParseSeed("17"); err != nil || seed != 17 {
		t.Errorf("seed 17: %d, %v", seed, err)
	}
	if _, err := soak.ParseSeed("seventeen"); err == nil {
		t.Error("a word is taken for a seed")
	}
}

func TestRandDependsOnSeedAndTrial(t *testing.T) {
	first := soak.Rand(1, "a/1").Uint64()
	if again := soak.Rand(1, "a/1").Uint64(); again != first {
		t.Errorf("the same trial gets %d and then %d", first, again)
	}
	if soak.Rand(1, "a/2").Uint64() == first || soak.Rand(2, "a/1").Uint64() == first {
		t.Error("other trials, or other seeds, get the same")
	}
}
