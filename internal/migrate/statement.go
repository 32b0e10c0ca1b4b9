package migrate

import (
	"strings"
)

// span is one statement in a file, from its first character to the one before its semicolon.
type span struct{ start, end int }

// splitter finds the statements in SQL. It is used only to name the one that failed: the server
// gets the whole file.
type splitter struct {
	sql   string
	pos   int
	start int // of the current statement, -1 before its first token
	// parens and blocks count what must be closed before a semicolon ends the statement.
	parens, blocks int
	// words are the first words of the statement, which tell whether it may hold BEGIN ATOMIC.
	words []string
	spans []span
}

// split returns the statements of sql as the server counts them.
func split(sql string) []span {
	s := &splitter{sql: sql}
	s.reset()
	for s.pos < len(sql) {
		s.next()
	}
	s.finish(len(sql))
	return s.spans
}

func (s *splitter) reset() { s.start, s.parens, s.blocks, s.words = -1, 0, 0, nil }

func (s *splitter) finish(end int) {
	if s.start >= 0 {
		s.spans = append(s.spans, span{s.start, len(strings.TrimRight(s.sql[:end], " \t\r\n"))})
	}
	s.reset()
}

// next consumes one token.
func (s *splitter) next() {
	rest := s.sql[s.pos:]
	c := rest[0]
	switch {
	case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
		s.pos++
		return
	case strings.HasPrefix(rest, "--"):
		s.skipPast("\n")
		return
	case strings.HasPrefix(rest, "/*"):
		s.skipComment()
		return
	case c == ';' && s.parens == 0 && s.blocks == 0:
		s.finish(s.pos)
		s.pos++
		return
	}
	if s.start < 0 {
		s.start = s.pos
	}
	switch {
	case c == '\'' || c == '"':
		s.skipQuoted(c, false)
	case (c == 'E' || c == 'e') && len(rest) > 1 && rest[1] == '\'':
		s.pos++
		s.skipQuoted('\'', true)
	case c == '$':
		s.skipDollar()
	case c == '(':
		s.parens++
		s.pos++
	case c == ')':
		s.parens = max(0, s.parens-1)
		s.pos++
	case identifier(c):
		s.word()
	default:
		s.pos++
	}
}

// identifier tells whether c can stand in a name. Digits and bytes of other alphabets count too.
func identifier(c byte) bool {
	return c == '_' || c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// word consumes a name or keyword, and follows the blocks of a function body in plain SQL.
func (s *splitter) word() {
	end := s.pos
	for end < len(s.sql) && (identifier(s.sql[end]) || s.sql[end] == '$') {
		end++
	}
	word := strings.ToUpper(s.sql[s.pos:end])
	s.pos = end
	if len(s.words) < 4 {
		s.words = append(s.words, word)
	}
	switch {
	case word == "ATOMIC" && s.definesRoutine():
		s.blocks++
	case word == "CASE" && s.blocks > 0:
		s.blocks++
	case word == "END" && s.blocks > 0:
		s.blocks--
	}
}

func (s *splitter) definesRoutine() bool {
	w := strings.Join(s.words, " ") + " "
	w = strings.Replace(w, "CREATE OR REPLACE ", "CREATE ", 1)
	return strings.HasPrefix(w, "CREATE FUNCTION ") || strings.HasPrefix(w, "CREATE PROCEDURE ")
}

func (s *splitter) skipPast(mark string) {
	i := strings.Index(s.sql[s.pos:], mark)
	if i < 0 {
		s.pos = len(s.sql)
		return
	}
	s.pos += i + len(mark)
}

// skipComment consumes a block comment; they nest.
func (s *splitter) skipComment() {
	for depth := 0; s.pos < len(s.sql); {
		switch rest := s.sql[s.pos:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			s.pos += 2
		case strings.HasPrefix(rest, "*/"):
			s.pos += 2
			if depth--; depth == 0 {
				return
			}
		default:
			s.pos++
		}
	}
}

// skipQuoted consumes a string or quoted name. A doubled quote reads as two that touch, to the same end.
func (s *splitter) skipQuoted(quote byte, backslashes bool) {
	for s.pos++; s.pos < len(s.sql); s.pos++ {
		switch c := s.sql[s.pos]; {
		case backslashes && c == '\\':
			s.pos++
		case c == quote:
			s.pos++
			return
		}
	}
}

// skipDollar consumes a string of the form $tag$…$tag$, or a lone dollar sign.
func (s *splitter) skipDollar() {
	end := s.pos + 1
	for end < len(s.sql) && identifier(s.sql[end]) {
		end++
	}
	if end == len(s.sql) || s.sql[end] != '$' {
		s.pos++
		return
	}
	tag := s.sql[s.pos : end+1]
	s.pos = end + 1
	s.skipPast(tag)
}
