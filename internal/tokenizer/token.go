package tokenizer

// Token is an id with its texts, for JSON and for tables.
type Token struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece"` // as in the vocabulary; see [Tokenizer.Piece]
	Text  string `json:"text"`  // what it decodes to by itself
}

// Token returns the token with an id.
func (t *Tokenizer) Token(id int32) Token {
	return Token{ID: id, Piece: t.Piece(id), Text: t.Decode([]int32{id}, false)}
}

// Bytes returns what a token adds to a text that has begun: its leading space is there, and it may be only a
// part of a character. An id without token has no bytes.
func (t *Tokenizer) Bytes(id int32) []byte {
	piece, d := t.rawPiece(id), &t.decoder
	if piece == "" {
		return nil
	}
	if d.byteLevel {
		text, _ := letterBytes(piece) // Load has checked the pieces
		return []byte(text)
	}
	if c, ok := byteToken(piece); ok && !d.plain {
		return []byte{c}
	}
	return []byte(d.join + d.written(piece))
}
