package offsite

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/plain"
)

const fixFull = "make room there, raise its quota, or keep fewer copies with global.backup.offsite.retention"

// refusal is what a service may refuse: how it says so, and what to do.
type refusal struct {
	id finding.ID
	// codes are those of S3 and of services that speak it, statuses those of HTTP where there is no code that is known.
	codes    []string
	statuses []int
	found    string
	fix      string
}

// refusals are in the order in which they are tried.
func refusals() []refusal {
	return []refusal{
		{
			id: finding.OffsiteBucket, codes: []string{"NoSuchBucket", "InvalidBucketName"},
			found: "there is no such bucket",
			fix:   "create the bucket, or correct its name (global.backup.s3.bucket) or the endpoint",
		},
		{
			id: finding.OffsiteLocked, codes: []string{"ObjectLocked", "FileImmutable", "ObjectImmutable", "FileAlreadyExists"},
			found: "an object is locked",
			fix:   "wait until its retention time is over",
		},
		{
			id: finding.OffsiteClock, codes: []string{"RequestTimeTooSkewed", "RequestExpired"},
			found: "the clock of this machine or of the service is wrong",
			fix:   "set the node's clock (timedatectl status shows whether it is synchronised)",
		},
		{
			id: finding.OffsiteCredentials, codes: []string{
				"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity", "NotSignedUp", "InvalidToken",
				"XAdminUserNotFound",
			},
			statuses: []int{http.StatusUnauthorized},
			found:    "the service does not accept the access key",
			fix:      "correct the access key and the secret key (global.backup.s3.existingSecret)",
		},
		{
			id: finding.OffsiteCredentials, codes: []string{
				"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "SecurityTokenExpired",
				"InvalidAccessKeyId.Inactive",
			},
			found: "the credentials have expired",
			fix:   "put credentials there that are valid longer than a backup takes (global.backup.s3.existingSecret)",
		},
		{
			id: finding.OffsiteRegion, codes: []string{
				"AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "InvalidRegion", "InvalidRegionName",
				"IllegalLocationConstraintException", "AccessDeniedByRegion",
			},
			statuses: []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect},
			found:    "the bucket is in another region",
			fix:      "correct global.backup.s3.region, and the endpoint if it names a region",
		},
		{
			id: finding.OffsiteFull, codes: []string{
				"QuotaExceeded", "QuotaExceededException", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
				"StorageLimitExceeded", "InsufficientCapacity", "ServiceQuotaExceededException", "EntityTooLarge",
			},
			statuses: []int{http.StatusInsufficientStorage, http.StatusRequestEntityTooLarge},
			found:    "the bucket is full",
			fix:      fixFull,
		},
		{
			id: finding.OffsiteAccess, codes: []string{
				"AccessDenied", "AllAccessDisabled", "AccountProblem", "UserDisable", "AccessForbidden",
				"MethodNotAllowed", "ReadOnly",
			},
			statuses: []int{http.StatusForbidden, http.StatusMethodNotAllowed},
			found:    "the credentials do not allow it",
			fix:      "allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on what is in it",
		},
	}
}

// notS3 is the code of an answer that no S3 service gives.
const notS3 = "not S3"

// answering are codes with which a service asks for patience.
var answering = []string{
	"SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded",
	"InternalError", "ServiceUnavailable", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch",
}

// explain makes a finding of what went wrong. What a service says comes from outside.
func (s *S3) explain(what string, err error) error {
	if isTooLarge(err) {
		return err
	}
	var refused *serviceError
	if !errors.As(err, &refused) {
		return s.explainConnection(what, err)
	}
	code, said := refused.Code, clean(refused.Message)
	// An answer to HEAD has no code.
	if code == "NoSuchKey" || code == "" && refused.Status == http.StatusNotFound {
		return notThere(what)
	}
	if code == notS3 {
		return hook.Refusef(finding.OffsiteEndpoint, "correct global.backup.s3.endpoint", "%s in %s: %s is no S3 service: %s",
			what, s, s.opts.Endpoint, said)
	}
	if slices.Contains(answering, code) || refused.Status >= 500 && refused.Status != http.StatusInsufficientStorage {
		return s.unreachable(what, fmt.Sprintf("it answers %s", clean(fmt.Sprintf("%s (%s)", code, said))))
	}
	if locked(*refused) {
		code = "ObjectLocked"
	}
	for _, byCode := range []bool{true, false} {
		for _, r := range refusals() {
			if byCode && slices.Contains(r.codes, code) || !byCode && slices.Contains(r.statuses, refused.Status) {
				return s.refuse(r, what, code, said, refused.Region)
			}
		}
	}
	return hook.Refusef(finding.OffsiteRefused, "check the endpoint and the bucket's settings",
		"%s in %s: the service refuses it with %s (%s)", what, s, clean(code), said)
}

func (s *S3) refuse(r refusal, what, code, said, region string) error {
	fix := r.fix
	if r.id == finding.OffsiteRegion && region != "" {
		fix = fmt.Sprintf("set global.backup.s3.region to %s, and correct the endpoint if it names a region", clean(region))
	}
	if said != "" {
		said = ": " + said
	}
	return hook.Refusef(r.id, fix, "%s in %s: %s (%s%s)", what, s, r.found, clean(code), said)
}

// locked says whether a service refuses to change an object that is kept for a time. There is no code for that in S3.
func locked(refused serviceError) bool {
	if refused.Code != "AccessDenied" && refused.Code != "InvalidRequest" && refused.Code != "ObjectLocked" {
		return false
	}
	said := strings.ToLower(refused.Message)
	words := []string{"worm", "object lock", "objectlock", "is locked", "retention", "legal hold"}
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(said, word) })
}

// explainConnection explains what kept a request from being answered.
func (s *S3) explainConnection(what string, err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	const caFix = "set global.backup.s3.caSecret to a Secret with the CA certificate that signed the service's"
	switch {
	case errors.As(err, &unknown):
		return s.certificate(what, "no CA that is trusted signed the certificate of the service", caFix)
	case errors.As(err, &host):
		return s.certificate(what, "its certificate is for another name: "+clean(host.Error()),
			"use an endpoint that the certificate is for")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return s.certificate(what, "its certificate is not valid at this time: "+clean(invalid.Error()),
			"renew the certificate of the service, or set the node's clock")
	case errors.As(err, &verification):
		return s.certificate(what, clean(verification.Error()), caFix)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return hook.Refusef(finding.OffsiteEndpoint, "use an endpoint with TLS, or http:// and global.backup.s3.plainHTTP=true",
			"%s in %s: %s speaks HTTP without TLS", what, s, s.opts.Endpoint)
	}
	return s.unreachable(what, cause(err))
}

func (s *S3) certificate(what, found, fix string) error {
	return hook.Refusef(finding.OffsiteCertificate, fix, "%s in %s: %s could not be verified: %s",
		what, s, s.opts.Endpoint, found)
}

// unreachable is about what may be over the next time.
func (s *S3) unreachable(what, found string) error {
	return hook.Failf(hook.Unexpected, finding.OffsiteUnreachable,
		"check the endpoint, and that the namespace's pods may connect to it (NetworkPolicies, firewall, proxy)",
		"%s in %s: %s can't be reached: %s", what, s, s.opts.Endpoint, found)
}

// cause leaves out what an error of the network repeats of the request.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "it did not answer in time"
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return clean(err.Error())
}

// clean is text of a service, short and safe to print.
func clean(text string) string {
	text = strings.Join(strings.Fields(plain.Text(text)), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + " …"
	}
	return text
}
