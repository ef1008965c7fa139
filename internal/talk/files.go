package talk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/strictjson"
	"phi3/internal/tokenizer"
)

// savedChat is the file of /save.
type savedChat struct {
	Model    string         `json:"model,omitempty"`
	Messages []savedMessage `json:"messages"`
}

type savedMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// save writes the whole file or nothing. With replace it replaces a regular file, and never anything else.
func (t *Talk) save(file string, replace bool) (err error) {
	if err := free(file, replace); err != nil {
		return err
	}
	saved := savedChat{Model: t.Name, Messages: []savedMessage{}}
	for _, m := range t.Messages() {
		m.Content = strings.TrimPrefix(m.Content, " ") // the mark that SentencePiece puts before a word
		saved.Messages = append(saved.Messages, savedMessage(m))
	}
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".phi3-chat-*")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s", dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, regular.Reason(err))
	}
	defer func() { _ = os.Remove(f.Name()) }() // a rename has removed it
	err = errors.Join(show.WriteJSON(f, saved), f.Close())
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", file, regular.Reason(err))
	case replace:
		err = os.Rename(f.Name(), file)
	default:
		// Unlike a rename, a link never replaces a file, not even one that was made just now.
		err = os.Link(f.Name(), file)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			if err = free(file, false); err == nil { // a file system without links
				err = os.Rename(f.Name(), file)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, regular.Reason(err))
	}
	return nil
}

// free returns an error unless a file may be written: there is none, or a regular one that may be replaced.
func free(file string, replace bool) error {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", file, regular.Reason(err))
	}
	if err := regular.Check(info.Mode()); err != nil {
		return fmt.Errorf("%s %w, and stays as it is", file, err)
	}
	if !replace {
		return fmt.Errorf("%s exists; /save! %[1]s replaces it", file)
	}
	return nil
}

// Limits of a file for /load, far above any context.
const (
	maxSavedChat     = 16 << 20 // bytes
	maxSavedMessages = 100_000
)

// load reads a file that save wrote, or a JSON list of messages.
func (t *Talk) load(file string) error {
	data, err := regular.Read(file, maxSavedChat)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	// Windows writes a byte order mark before UTF-8.
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) == 0 {
		return fmt.Errorf("%s is empty", file)
	}
	messages, err := savedMessages(data)
	if err == nil {
		err = t.Load(messages)
	}
	if err != nil {
		return fmt.Errorf("%s is not a saved conversation: %w", file, err)
	}
	return nil
}

// savedMessages reads the messages one by one, so that a wrong one ends it before others take memory.
func savedMessages(data []byte) (messages []tokenizer.Message, err error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, errors.New("it is UTF-16; save it as UTF-8")
	}
	if err := strictjson.Unmarshal(data, new(json.RawMessage)); err != nil {
		if p := new(regular.PlaceholderError); errors.As(err, &p) { // its advice is for a model's files
			return nil, errors.New("it " + p.Is)
		}
		return nil, errors.New("it " + strings.TrimSuffix(err.Error(), ": is the download complete?"))
	}
	decoder := json.NewDecoder(bytes.NewReader(data)) // the JSON is valid, so these calls cannot fail
	opening, _ := decoder.Token()
	if opening == json.Delim('{') {
		found := false
		for decoder.More() && !found {
			name, _ := decoder.Token()
			if found = name == "messages"; !found {
				_ = decoder.Decode(new(json.RawMessage))
			}
		}
		if opening = nil; found {
			opening, _ = decoder.Token()
		}
	}
	if opening != json.Delim('[') {
		return nil, errors.New("it has no list of messages")
	}
	for decoder.More() {
		n := len(messages) + 1
		if n > maxSavedMessages {
			return nil, fmt.Errorf("it has more than %d messages", maxSavedMessages)
		}
		var raw json.RawMessage
		var m struct {
			Role    *string `json:"role"`
			Content *string `json:"content"`
		}
		_ = decoder.Decode(&raw)
		switch err := strictjson.Unmarshal(raw, &m); {
		case err != nil:
			return nil, fmt.Errorf("message %d: %w", n, err)
		case m.Role == nil || m.Content == nil:
			return nil, fmt.Errorf("message %d needs a role and a content", n)
		case *m.Role != "system" && *m.Role != "user" && *m.Role != "assistant":
			return nil, fmt.Errorf("message %d has the role %q, not system, user or assistant", n,
				show.Clip(*m.Role, 80))
		}
		messages = append(messages, tokenizer.Message{Role: *m.Role, Content: *m.Content})
	}
	return messages, nil
}

// withHome replaces the ~ at the start of a path, as a shell does.
func withHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

// HistoryFile returns the file that keeps the messages of earlier runs: $PHI3_HISTORY, or a file in the XDG
// state directory. "" means that nothing is kept.
func HistoryFile() string {
	if file, set := os.LookupEnv("PHI3_HISTORY"); set {
		return file
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // as the XDG specification has it
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "phi3", "history")
}
