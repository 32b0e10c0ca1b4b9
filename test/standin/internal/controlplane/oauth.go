package controlplane

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

// codeLifetime is how long a user may take to come back to the service that sent them here.
const codeLifetime = time.Minute

// grants are what was given to services that sign users in, by code and by token. They last as long as the process.
type grants struct {
	mutex  sync.Mutex
	codes  map[string]grant
	tokens map[string]session.User
}

type grant struct {
	client, redirect, challenge string
	user                        session.User
	expires                     time.Time
}

func newGrants() *grants {
	return &grants{codes: map[string]grant{}, tokens: map[string]session.User{}}
}

// authorize sends a user back to a service with a code, if exactly this address was registered for it.
func (s *server) authorize(w http.ResponseWriter, r *http.Request, user session.User) {
	ctx, cancel := bound(r)
	defer cancel()
	query := r.URL.Query()
	var redirects []string
	err := s.pool.QueryRow(ctx, `SELECT redirect_uris FROM public.oauth_clients WHERE id = $1`, query.Get("client_id")).Scan(&redirects)
	if errors.Is(err, pgx.ErrNoRows) {
		httpserver.Error(w, http.StatusBadRequest, "invalid_client")
		return
	}
	if err != nil {
		s.fail(w, "read the OAuth client", err)
		return
	}
	redirect := query.Get("redirect_uri")
	if !slices.Contains(redirects, redirect) {
		httpserver.Error(w, http.StatusBadRequest, "invalid_redirect_uri")
		return
	}
	if query.Get("code_challenge_method") != "S256" || query.Get("code_challenge") == "" {
		httpserver.Error(w, http.StatusBadRequest, "a code challenge is needed")
		return
	}
	back, err := url.Parse(redirect)
	if err != nil {
		s.fail(w, "registered redirect", err)
		return
	}
	code := rand.Text()
	s.grants.mutex.Lock()
	s.grants.codes[code] = grant{query.Get("client_id"), redirect, query.Get("code_challenge"), user, time.Now().Add(codeLifetime)}
	s.grants.mutex.Unlock()
	back.RawQuery = url.Values{"code": {code}, "state": {query.Get("state")}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// token exchanges a code for a token, once.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	s.grants.mutex.Lock()
	defer s.grants.mutex.Unlock()
	given, known := s.grants.codes[r.FormValue("code")]
	delete(s.grants.codes, r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !known || time.Now().After(given.expires) || given.client != r.FormValue("client_id") || given.redirect != r.FormValue("redirect_uri") ||
		given.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		httpserver.Error(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	token := rand.Text()
	s.grants.tokens[token] = given.user
	httpserver.JSON(w, http.StatusOK, map[string]string{"access_token": token, "token_type": "Bearer"})
}

func (s *server) userinfo(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.grants.mutex.Lock()
	user, known := s.grants.tokens[token]
	s.grants.mutex.Unlock()
	if !known {
		httpserver.Error(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	httpserver.JSON(w, http.StatusOK, user)
}
