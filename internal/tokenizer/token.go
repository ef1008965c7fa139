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
