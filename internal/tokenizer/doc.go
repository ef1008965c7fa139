// Package tokenizer turns text into a checkpoint's token ids and back, exactly as Hugging Face tokenizers
// does.
//
// Load reads the files of a checkpoint directory, with the precedence of transformers 4.57 (config.go,
// convert.go). Then:
//
//	"Hello<|end|>\nBerlin  is"
//	      │  added tokens, leftmost and longest; rstrip swallows the newline     added.go
//	"Hello"  <|end|>  "Berlin  is"
//	      │  each segment by itself: a "▁" in front, spaces become "▁"           encode.go
//	"▁Hello"          "▁Berlin▁▁is"
//	      │  words: by pattern (split.go), or where no merge reaches across      bpe.go
//	"▁Hello"          "▁Berlin" "▁▁is"
//	      │  merge the pair of lowest rank, leftmost first, until none is left   bpe.go
//	15043    32007    5115     29871 338
//
// The family has two kinds of vocabulary (spec 5). The SentencePiece kind (Phi-3, Phi-3.5) has pieces such as
// "▁Berlin" and writes a character it lacks as its bytes, <0xF0><0x9F>...; it has no word pattern at all. The
// byte-level kind (phi-4, Phi-4-mini) has pieces of bytes and cuts text into words by a pattern. Everything
// else is read from the files: BOS and EOS, which white space a special token swallows, which tokens are
// special. Settings that no checkpoint of the family needs are refused with an error, never guessed.
//
// Encoding stops when its context is done, or when there are more than EncodeOptions.Max tokens. It
// normalizes a text piece by piece. EncodeParts can read parts of a text literally, without special tokens;
// package text finds these parts in a rendered chat.
//
// Decode turns a whole list of ids back into text, Stream ids that come one at a time. ApplyChatTemplate
// renders messages with the checkpoint's own Jinja template (chat.go); its text is then encoded with
// EncodeOptions.NoBOS.
//
// tokenizer.json is read, and ids are decoded, through github.com/sugarme/tokenizer. sugarme.go
// says why the encoder is ours and lists that library's nine defects.
package tokenizer
