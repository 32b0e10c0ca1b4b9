package session

import (
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// CookieName is the cookie that holds a session.
const CookieName = "token"

const lifetime = 7 * 24 * time.Hour

// User is who a session belongs to.
type User struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Role     string `json:"role"`
}

type claims struct {
	Username string `json:"username"`
	Role     string `json:"role"`
	jwt.RegisteredClaims
}

// Cookie returns the signed session of a user.
func Cookie(secret string, user User) (*http.Cookie, error) {
	expires := time.Now().Add(lifetime)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		Username: user.Username,
		Role:     user.Role,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   user.ID,
			ExpiresAt: jwt.NewNumericDate(expires),
		},
	}).SignedString([]byte(secret))
	if err != nil {
		return nil, fmt.Errorf("sign a session: %w", err)
	}
	return &http.Cookie{
		Name: CookieName, Value: token, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}, nil
}

// FromRequest returns the user whose session a request carries.
func FromRequest(secret string, r *http.Request) (User, error) {
	cookie, err := r.Cookie(CookieName)
	if err != nil {
		return User{}, fmt.Errorf("the request carries no session")
	}
	return Verify(secret, cookie.Value)
}

// Verify returns the user whose session a cookie's value is.
func Verify(secret, value string) (User, error) {
	var c claims
	key := func(*jwt.Token) (any, error) { return []byte(secret), nil }
	if _, err := jwt.ParseWithClaims(value, &c, key, jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired()); err != nil {
		return User{}, fmt.Errorf("the session is not ours: %w", err)
	}
	return User{ID: c.Subject, Username: c.Username, Role: c.Role}, nil
}
