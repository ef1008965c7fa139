package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"phi3/internal/gguf"
	"phi3/internal/hub"
	"phi3/internal/model"
	"phi3/internal/show"
)

// Cached is a revision of a model in the hub's cache.
type Cached struct {
	Model    string    `json:"model"`
	Commit   string    `json:"commit,omitempty"` // "": an unfinished download
	Refs     []string  `json:"refs"`             // the branches and tags that mean this commit
	Path     string    `json:"path"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"` // revisions share equal files
	LastUsed time.Time `json:"last_used"`
	Runs     bool      `json:"runs"`          // phi3 can run it
	Kind     string    `json:"kind"`          // what it is, in words
	Why      string    `json:"why,omitempty"` // it does not run

	labels bool // it has a classification head
}

// List describes the models in the hub's cache.
func List(h *hub.Hub) ([]Cached, error) {
	cached, err := h.Models()
	if err != nil {
		return nil, err
	}
	list := []Cached{}
	for _, c := range cached {
		entry := Cached{
			Model: c.Name, Commit: c.Commit, Refs: append([]string{}, c.Refs...), Path: c.Dir,
			Files: c.Files, Bytes: c.Bytes, LastUsed: c.LastUsed.UTC().Truncate(time.Second),
		}
		entry.judge(c)
		list = append(list, entry)
	}
	return list, nil
}

// judge finds out what a cached model is and whether phi3 runs it.
func (e *Cached) judge(c hub.Cached) {
	if c.Commit == "" {
		e.Why = "unfinished download: phi3 pull " + c.Name + " continues it"
		return
	}
	config, files, err := readConfig(c.Dir)
	switch {
	case err == nil && config == nil:
		e.Kind = "GGUF files: " + files
	case err == nil:
		e.Kind = fmt.Sprintf("%d layers", config.Layers)
		if config.DType != "" {
			e.Kind += ", " + show.Brief(config.DType)
		}
		if e.labels = config.Head != model.LMHead; e.labels {
			e.Kind += ", for phi3 classify"
		}
	case !errors.Is(err, fs.ErrNotExist): // a config.json that is not there is in c.Lack
		e.Why = err.Error()
		return
	}
	switch {
	case c.Lack != "":
		e.Why = "incomplete: " + c.Lack
	case c.Damage != "":
		e.Why = c.Damage
	}
	e.Runs = e.Why == ""
}

// readConfig reads the configuration of the checkpoint or of the only GGUF model in a directory. Of a
// directory with several GGUF models it returns their names and no configuration.
func readConfig(dir string) (config *model.Config, files string, err error) {
	r := &Request{Name: dir}
	c, err := r.openDirectory(dir, "")
	if several := new(severalError); errors.As(err, &several) {
		return nil, gguf.Choice(several.list), nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = c.Close() }()
	config, err = model.ReadConfig(c.FS)
	return config, "", err
}

// OnlyOne returns the name of the model in the list that continues texts. It returns "" if there is no such
// model, or more than one. Revisions of one model count once.
func OnlyOne(list []Cached) (name string) {
	for _, e := range list {
		switch {
		case !e.Runs || e.labels || e.Model == name:
		case name != "":
			return ""
		default:
			name = e.Model
		}
	}
	return name
}
