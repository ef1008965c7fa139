package cli

import (
	"io"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// token is a token as --json prints it.
type token = tokenizer.Token

func describe(t *tokenizer.Tokenizer, id int32) token { return t.Token(id) }

// shownPiece is a piece in a table: every character can be seen, white space too.
func shownPiece(piece string) string { return show.Piece(piece, show.PieceColumns) }

// visible writes a name or a sentence so that every character can be seen and a row stays a row.
func visible(piece string) string { return show.Named(piece) }

func terminalWidth(w io.Writer) int { return show.TerminalWidth(w) }
