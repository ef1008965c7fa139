package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what a hub may say. They are far above every real model.
const (
	maxInfoBytes  = 32 << 20 // the answer that lists a repository's files
	maxSmallBytes = 1 << 28  // a file that is not weights
	maxShardBytes = 1 << 40
	maxShards     = 4096
)

const (
	configName  = "config.json"
	vocabName   = "tokenizer.json"
	weightsName = "model.safetensors"
	indexName   = "model.safetensors.index.json"
)

// besideWeights are the files that are downloaded if a repository has them: what phi3 reads, and what transformers wants to build the same
// tokenizer from the same cache.
var besideWeights = []string{
	configName, "generation_config.json", vocabName, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt",
}

// file is a file of a revision, as the hub describes it.
type file struct {
	name string
	size int64
	hash string // 64 hex digits, SHA-256 of the content; or 40, SHA-1 as git computes it for a blob
}

// revision is what the hub says of one: the commit that it is at present, and its files by name.
type revision struct {
	commit string
	files  map[string]file
}

// lookUp asks the hub what a revision of a model is.
func (p *pull) lookUp(ctx context.Context, tries int) (*revision, error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", p.hub.Endpoint, p.name, url.PathEscape(p.revision))
	var body []byte
	err := p.retry(ctx, p.hub.host(), tries, func() (bool, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, 2*p.hub.stall, &networkError{errSilent})
		defer cancel()
		answer, err := p.hub.get(ctx, address, http.Header{})
		if err != nil {
			return false, err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			return false, p.hub.statusError(answer)
		}
		body, err = io.ReadAll(io.LimitReader(answer.Body, maxInfoBytes+1))
		if err != nil {
			return false, &networkError{err}
		}
		return false, nil
	})
	if err != nil {
		return nil, p.explain(err)
	}
	if len(body) > maxInfoBytes {
		return nil, fmt.Errorf("%s lists the files of %s in more than %d bytes", p.hub.host(), p.name, maxInfoBytes)
	}
	r, err := parseRevision(body)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", p.hub.host(), p.name, err)
	}
	if commitHash.MatchString(p.revision) && r.commit != p.revision {
		return nil, fmt.Errorf("%s was asked for commit %s of %s and answers with %s", p.hub.host(), p.revision, p.name, r.commit)
	}
	return r, nil
}

// parseRevision reads the answer of /api/models/…?blobs=true. Files with names that phi3 never asks for are passed over, the
// others must have a size and a hash.
func parseRevision(text []byte) (*revision, error) {
	var raw struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name   string `json:"rfilename"`
			Size   *int64 `json:"size"`
			BlobID string `json:"blobId"` // git's; of an LFS file, that of the pointer
			LFS    *struct {
				SHA256 string `json:"sha256"`
				Size   *int64 `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("the answer is not what the hub sends: %w", err)
	}
	if !commitHash.MatchString(raw.SHA) {
		return nil, fmt.Errorf("the answer names no commit, but %q", clip(raw.SHA))
	}
	r := &revision{commit: raw.SHA, files: map[string]file{}}
	for _, s := range raw.Siblings {
		limit := int64(maxSmallBytes)
		if isWeights(s.Name) {
			limit = maxShardBytes
		} else if s.Name != indexName && !slices.Contains(besideWeights, s.Name) {
			r.files[s.Name] = file{} // known to be there, for messages alone
			continue
		}
		f := file{name: s.Name, hash: s.BlobID}
		size, pattern := s.Size, commitHash
		if s.LFS != nil {
			f.hash, size, pattern = s.LFS.SHA256, s.LFS.Size, sha256Hex
		}
		if !pattern.MatchString(f.hash) {
			return nil, fmt.Errorf("%s has no hash to check it with, but %q", s.Name, clip(f.hash))
		}
		if size == nil || *size < 0 || *size > limit {
			return nil, fmt.Errorf("%s has no size in 0 … %d", s.Name, limit)
		}
		f.size = *size
		r.files[s.Name] = f
	}
	return r, nil
}

var (
	sha256Hex   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	weightsFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors$`)
)

// isWeights tells whether a file is weights that phi3 reads and that lie at the top of a repository. The name is then safe as a path.
func isWeights(name string) bool {
	return weightsFile.MatchString(name) && !strings.Contains(name, "..")
}

// small lists what comes first: everything but weights. It fails if the repository cannot be run in any case, before anything is downloaded.
func (r *revision) small() (files []file, missing []string, err error) {
	for _, name := range besideWeights {
		if f, ok := r.files[name]; ok {
			files = append(files, f)
		} else {
			missing = append(missing, name)
		}
	}
	_, whole := r.files[weightsName]
	index, sharded := r.files[indexName]
	switch {
	case !whole && !sharded:
		return nil, nil, r.withoutWeights()
	case slices.Contains(missing, configName):
		return nil, nil, errors.New("has no config.json")
	case slices.Contains(missing, vocabName):
		return nil, nil, errors.New("has no tokenizer.json")
	case !whole: // where there is one file as well, that is the one which is read
		files = append(files, index)
	}
	return files, missing, nil
}

// withoutWeights says what a repository has instead of safetensors.
func (r *revision) withoutWeights() error {
	var others []string
	for name := range r.files {
		for _, ending := range []string{".gguf", ".bin", ".pth", ".pt", ".onnx", "adapter_model.safetensors"} {
			if strings.HasSuffix(name, ending) && !slices.Contains(others, ending) {
				others = append(others, ending)
			}
		}
	}
	if len(others) == 0 {
		return fmt.Errorf("has neither %s nor %s", weightsName, indexName)
	}
	slices.Sort(others)
	return fmt.Errorf("has weights as %s only; phi3 reads safetensors (%s, or %s and its shards)", strings.Join(others, ", "), weightsName, indexName)
}

// weights lists the files of the weights; shards are what the index names.
func (r *revision) weights(shards []string) ([]file, error) {
	if f, ok := r.files[weightsName]; ok {
		return []file{f}, nil
	}
	if len(shards) > maxShards {
		return nil, fmt.Errorf("%s names %d shards, more than %d", indexName, len(shards), maxShards)
	}
	var files []file
	for _, name := range shards {
		f, ok := r.files[name]
		if !ok || !isWeights(name) {
			return nil, fmt.Errorf("%s names the shard %q, which the repository does not have", indexName, clip(name))
		}
		files = append(files, f)
	}
	return files, nil
}
