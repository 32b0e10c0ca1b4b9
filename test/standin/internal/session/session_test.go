package session

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPassword(t *testing.T) {
	hash := HashPassword("right")
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Errorf("hash %q is not in the form that the platform writes", hash)
	}
	for password, want := range map[string]bool{"right": true, "wrong": false, "": false} {
		got, err := PasswordMatches(hash, password)
		if err != nil || got != want {
			t.Errorf("PasswordMatches(%q) = %v, %v, want %v", password, got, err, want)
		}
	}
	for _, broken := range []string{"", "plain", "$argon2i$v=19$m=1,t=1,p=1$AA$AA", "$argon2id$v=19$m=1,t=0,p=1$AA$AA", "$argon2id$v=19$m=8,t=1,p=1$*$AA"} {
		if _, err := PasswordMatches(broken, "right"); err == nil {
			t.Errorf("PasswordMatches accepts the hash %q", broken)
		}
	}
}

func TestCookie(t *testing.T) {
	user := User{ID: "u1", Username: "admin", Role: "admin"}
	cookie, err := Cookie("secret", user)
	if err != nil {
		t.Fatal(err)
	}
	if cookie.Name != "token" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %s is not as browsers must treat it", cookie)
	}
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	if _, err := FromRequest("secret", request); err == nil {
		t.Error("a request without a cookie has a session")
	}
	request.AddCookie(cookie)
	got, err := FromRequest("secret", request)
	if err != nil || got != user {
		t.Errorf("FromRequest = %v, %v, want %v", got, err, user)
	}
	if _, err := FromRequest("another secret", request); err == nil {
		t.Error("a session signed with another secret is accepted")
	}
}
