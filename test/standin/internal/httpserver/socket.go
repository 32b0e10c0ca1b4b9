package httpserver

import (
	"net/http"

	"github.com/coder/websocket"
)

// Echo is a WebSocket that says what it hears. Any page may open it.
func Echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // It is closed already after a good end.
	for {
		kind, text, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, text); err != nil {
			return
		}
	}
}
