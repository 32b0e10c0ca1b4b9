package platform

import (
	"net/url"
	"strings"
)

// LibpqURL writes a database URL for the services' driver, node-postgres, as libpq and its likes read it. That
// driver verifies a server fully in every mode but its own "no-verify", which is libpq's "require".
func LibpqURL(u *url.URL) string {
	query := u.Query()
	query.Del("uselibpqcompat")
	if query.Get("sslmode") == "no-verify" {
		query.Set("sslmode", "require")
	}
	written := *u
	written.RawQuery = Query(query)
	return written.String()
}

// Query writes the parameters of a database URL. libpq and its likes take a plus sign for itself, and not for a space.
func Query(parameters url.Values) string { return strings.ReplaceAll(parameters.Encode(), "+", "%20") }

// CredentialTable is the table with what users have stored as credentials, which alone has encrypted values.
const CredentialTable = "public.user_credentials"

// CredentialColumns are the names by which versions of the platform call the column with the encrypted value: a text in
// base64, or bytes.
func CredentialColumns() []string { return []string{"encrypted_value", "secret"} }
