// Package lifetime tests that a testbed comes up, can be taken down at any moment, and leaves nothing behind. Its
// tests have the build tag e2e, need root, and a machine on which no testbed runs.
package lifetime
