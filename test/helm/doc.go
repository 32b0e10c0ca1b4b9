// Package helm asks the helm programs themselves, where test/chart uses the library of one of them. The tests need both
// programs and the tag helm: `make test-unit` brings them.
package helm
