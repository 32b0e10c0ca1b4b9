// Package e2e installs the chart on a real cluster, as a user would, and breaks it on purpose. The tests
// need a cluster and the tag e2e: `make test-e2e` brings up both.
package e2e
