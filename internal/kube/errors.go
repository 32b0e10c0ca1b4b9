package kube

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// rbacDenied is how every authorizer of Kubernetes words a missing permission.
var rbacDenied = regexp.MustCompile(`User "([^"]+)" cannot ([a-z]+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// MissingPermission says who lacks which permission if that is what err is about, else "".
func MissingPermission(err error) string {
	if !apierrors.IsForbidden(err) {
		return ""
	}
	m := rbacDenied.FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	user, verb, resource, group, namespace := m[1], m[2], m[3], m[4], m[5]
	if group != "" {
		resource += "." + group
	}
	where := "in the whole cluster"
	if namespace != "" {
		where = "in namespace " + namespace
	}
	return fmt.Sprintf("%s may not %s %s %s", user, verb, resource, where)
}

// NoNamespace tells whether err says that the namespace, not something in it, is missing.
func NoNamespace(err error, namespace string) bool {
	return apierrors.IsNotFound(err) && strings.Contains(err.Error(), fmt.Sprintf("namespaces %q not found", namespace))
}

// AdmissionWebhookDown tells whether an admission webhook could not be asked, as while its operator
// starts: nobody listens, it has no endpoints, or the API server does not trust its certificate yet.
func AdmissionWebhookDown(err error) bool {
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook")
}

var failedWebhook = regexp.MustCompile(`failed calling webhook "([^"]+)"`)

// FailedWebhook is the name of the admission webhook that could not be asked, "" where err names none.
func FailedWebhook(err error) string {
	if m := failedWebhook.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

// NoDryRun tells whether an admission webhook can't be asked in a dry run, so that its verdict is not known.
func NoDryRun(err error) bool {
	return err != nil && strings.Contains(err.Error(), "does not support dry run")
}

// NoServiceAccount tells whether a pod was not judged since its ServiceAccount does not exist.
func NoServiceAccount(err error) bool {
	return err != nil && strings.Contains(err.Error(), "error looking up service account")
}

// NoSecurityContextConstraint tells whether OpenShift refuses a pod since no SecurityContextConstraints that its
// ServiceAccount may use admits it.
func NoSecurityContextConstraint(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unable to validate against any security context constraint")
}

// Unanswered tells whether err says nothing about the request itself: the API server could not judge it.
func Unanswered(err error) bool {
	if err == nil || AdmissionWebhookDown(err) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return status.Status().Code >= 500 || apierrors.IsTooManyRequests(err) || apierrors.IsUnauthorized(err)
}

// Permanent tells whether the API server understood the request and will refuse it again.
func Permanent(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) ||
		apierrors.IsUnauthorized(err) || apierrors.IsMethodNotSupported(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsUnsupportedMediaType(err)
}

// Brief is the message of an API error without the client's wrapping, on one line.
func Brief(err error) string {
	message := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Message != "" {
		message = status.Status().Message
	}
	var network *net.OpError
	if errors.As(err, &network) {
		message = "the API server does not answer: " + network.Error()
	}
	// Of a patch with an unknown field the API server shows the whole object, in which secrets may be.
	if at := strings.LastIndex(message, strictDecoding); at >= 0 {
		message = message[at:]
	}
	return strings.Join(strings.Fields(message), " ")
}

// strictDecoding begins what the API server says of a field that it does not know, or that is there twice.
const strictDecoding = "strict decoding error: "

var nodePortRange = regexp.MustCompile(`range of valid ports is ([0-9]+-[0-9]+)`)

// NodePortRange is the range of node ports that the API server names when it refuses one outside, else empty. A dry run
// is not refused for that.
func NodePortRange(err error) string {
	if err == nil {
		return ""
	}
	if m := nodePortRange.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}
