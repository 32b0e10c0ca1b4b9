// Package e2e tests a running testbed through its API server, as KUBECONFIG names it: names, volumes, images and
// NetworkPolicies. Its tests have the build tag e2e.
package e2e
