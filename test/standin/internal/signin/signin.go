// Package signin plays how the services of modules let users sign in: by the control plane, as OAuth clients of it.
package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/oauth2"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

// Client is one service that signs users in.
type Client struct {
	// secret signs the service's own sessions.
	secret string
	cookie string
	web    string
	http   *http.Client
	oauth  oauth2.Config

	mutex sync.Mutex
	// verifiers are those of users who are about to come back, by the state they carry.
	verifiers map[string]string
}

// New is a service known to the control plane as id. web is the control plane's public origin, own the service's.
func New(id, secret, web, own string, client *http.Client) *Client {
	return &Client{
		secret: secret, cookie: id + "-token", web: web, http: client, verifiers: map[string]string{},
		oauth: oauth2.Config{
			ClientID: id, RedirectURL: own + "/api/auth/callback",
			Endpoint: oauth2.Endpoint{
				AuthURL: web + "/api/oauth/authorize", TokenURL: web + "/api/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
			},
		},
	}
}

// Register adds the pages of signing in.
func (c *Client) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/auth/login", c.login)
	mux.HandleFunc("GET /api/auth/callback", c.callback)
	mux.HandleFunc("GET /api/me", func(w http.ResponseWriter, r *http.Request) {
		user, err := c.User(r)
		if err != nil {
			httpserver.Error(w, http.StatusUnauthorized, "sign in first")
			return
		}
		httpserver.JSON(w, http.StatusOK, user)
	})
}

// User is who a request's session belongs to.
func (c *Client) User(r *http.Request) (session.User, error) {
	cookie, err := r.Cookie(c.cookie)
	if err != nil {
		return session.User{}, fmt.Errorf("the request carries no session")
	}
	return session.Verify(c.secret, cookie.Value)
}

func (c *Client) login(w http.ResponseWriter, r *http.Request) {
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	c.mutex.Lock()
	c.verifiers[state] = verifier
	c.mutex.Unlock()
	http.Redirect(w, r, c.oauth.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

// callback asks the control plane, by its public origin, who the user is that it sent here.
func (c *Client) callback(w http.ResponseWriter, r *http.Request) {
	state := r.URL.Query().Get("state")
	c.mutex.Lock()
	verifier, known := c.verifiers[state]
	delete(c.verifiers, state)
	c.mutex.Unlock()
	if !known {
		httpserver.Error(w, http.StatusBadRequest, "nobody is about to sign in with this state")
		return
	}
	user, err := c.exchange(r.Context(), r.URL.Query().Get("code"), verifier)
	if err != nil {
		httpserver.Error(w, http.StatusInternalServerError, "sign in by "+c.web+": "+err.Error())
		return
	}
	cookie, err := session.Cookie(c.secret, user)
	if err != nil {
		httpserver.Error(w, http.StatusInternalServerError, err.Error())
		return
	}
	cookie.Name = c.cookie
	http.SetCookie(w, cookie)
	http.Redirect(w, r, "/", http.StatusFound)
}

func (c *Client) exchange(ctx context.Context, code, verifier string) (session.User, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c.http)
	token, err := c.oauth.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return session.User{}, err
	}
	answer, err := c.oauth.Client(ctx, token).Get(c.web + "/api/oauth/userinfo")
	if err != nil {
		return session.User{}, err
	}
	defer answer.Body.Close() //nolint:errcheck // Only reading.
	if answer.StatusCode != http.StatusOK {
		return session.User{}, &httpserver.StatusError{URL: c.web + "/api/oauth/userinfo", Status: answer.StatusCode}
	}
	var user session.User
	return user, json.NewDecoder(answer.Body).Decode(&user)
}
