package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/test/standin/internal/directory"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

type signedInHandler func(http.ResponseWriter, *http.Request, session.User)

// signedIn lets only requests with a session of ours through.
func (s *server) signedIn(next signedInHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := session.FromRequest(s.jwtSecret, r)
		if err != nil {
			httpserver.Error(w, http.StatusUnauthorized, "sign in first")
			return
		}
		next(w, r, user)
	})
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	var given struct{ Username, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&given); err != nil || given.Username == "" || given.Password == "" {
		httpserver.Error(w, http.StatusBadRequest, "username and password are needed")
		return
	}
	user, err := s.checkPassword(r, given.Username, given.Password)
	if errors.Is(err, errCredentials) {
		httpserver.Error(w, http.StatusUnauthorized, err.Error())
		return
	}
	if err != nil {
		s.fail(w, "login", err)
		return
	}
	cookie, err := session.Cookie(s.jwtSecret, user)
	if err != nil {
		s.fail(w, "login", err)
		return
	}
	http.SetCookie(w, cookie)
	httpserver.JSON(w, http.StatusOK, user)
}

var errCredentials = errors.New("invalid credentials")

// checkPassword asks the database, and after that the directory, whatever the database said.
func (s *server) checkPassword(r *http.Request, username, password string) (session.User, error) {
	ctx, cancel := bound(r)
	defer cancel()
	user, err := s.checkLocal(ctx, username, password)
	if !errors.Is(err, errCredentials) || s.directory == nil {
		return user, err
	}
	found, err := s.directory.LogIn(username, password)
	if err != nil {
		// The real service tells users no more either.
		s.log.Warn("log in by the directory", "user", username, "error", err)
		return session.User{}, errCredentials
	}
	return s.addUser(ctx, found)
}

func (s *server) checkLocal(ctx context.Context, username, password string) (session.User, error) {
	user := session.User{Username: username}
	var hash string
	err := s.pool.QueryRow(ctx, `SELECT id, role, coalesce(password_hash, '') FROM public.users WHERE username = $1 AND role <> 'system'`, username).Scan(&user.ID, &user.Role, &hash)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && hash == "" {
		return session.User{}, errCredentials
	}
	if err != nil {
		return session.User{}, err
	}
	matches, err := session.PasswordMatches(hash, password)
	if err == nil && !matches {
		err = errCredentials
	}
	return user, err
}

// addUser gives a user of the directory an account, or the one that has the name already.
func (s *server) addUser(ctx context.Context, found directory.User) (session.User, error) {
	user := session.User{Username: found.Username}
	err := s.pool.QueryRow(ctx, `
INSERT INTO public.users (id, username, display_name, email, role) VALUES ($1, $2, $3, $4, 'user')
ON CONFLICT (username) DO UPDATE SET display_name = excluded.display_name, email = excluded.email
RETURNING id, role`, session.NewID(), found.Username, found.Name, found.Email).Scan(&user.ID, &user.Role)
	if err == nil && user.Role == "system" {
		return session.User{}, errCredentials
	}
	return user, err
}

func (s *server) logout(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: session.CookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) me(w http.ResponseWriter, r *http.Request, user session.User) {
	ctx, cancel := bound(r)
	defer cancel()
	me := struct {
		session.User
		DisplayName string `json:"displayName"`
		Email       string `json:"email"`
	}{User: user}
	err := s.pool.QueryRow(ctx, `SELECT display_name, email FROM public.users WHERE id = $1`, user.ID).Scan(&me.DisplayName, &me.Email)
	if err != nil {
		s.fail(w, "read the account", err)
		return
	}
	httpserver.JSON(w, http.StatusOK, me)
}

// fail answers 500 with the cause, since whoever reads it here is looking for a mistake in a chart.
func (s *server) fail(w http.ResponseWriter, what string, err error) {
	s.log.Error(what, "error", err)
	httpserver.Error(w, http.StatusInternalServerError, what+": "+err.Error())
}
