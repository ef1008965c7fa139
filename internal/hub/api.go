package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// Bounds of a hub's answers, far above every real model.
const (
	maxInfoBytes  = 32 << 20 // the answer that lists a repository's files
	maxListed     = 100_000  // files of a repository; the hub recommends fewer
	maxSmallBytes = 1 << 28  // a file that is not weights
	maxShardBytes = 1 << 40
)

const (
	configName  = "config.json"
	vocabName   = "tokenizer.json"
	weightsName = "model.safetensors"
	indexName   = "model.safetensors.index.json"
	adapterName = "adapter_model.safetensors" // LoRA's
)

// besideWeights are the files that are downloaded if a repository has them: those that phi3 reads, and those
// from which transformers builds the same tokenizer in the same cache.
var besideWeights = []string{
	configName, "generation_config.json", vocabName, "tokenizer_config.json",
	"special_tokens_map.json", "added_tokens.json",
	"chat_template.jinja", "chat_template.json", "tokenizer.model", "vocab.json", "merges.txt",
}

// file is a file of a revision as the hub describes it.
type file struct {
	name string
	size int64
	hash string // SHA-256 of the content, 64 hex digits; or SHA-1 as git computes it for a blob, 40
}

// revision is a revision as the hub describes it: the commit that it means now, and its files.
type revision struct {
	commit string
	// by name, those that phi3 may ask for; without hash ("") and size (-1) if a mirror does not tell them
	files  map[string]file
	others []string // endings of other files' names that look like weights
}

// lookUp asks the hub for a revision of a model.
func (p *pull) lookUp(ctx context.Context, tries int) (*revision, error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", p.hub.Endpoint, p.name,
		url.PathEscape(p.revision))
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
		if answer.isPage() {
			return false, fmt.Errorf("%s %w", answer.Request.URL.Host, errPage)
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
		return nil, fmt.Errorf("%s lists the files of %s in more than %d bytes",
			p.hub.host(), p.name, maxInfoBytes)
	}
	r, err := parseRevision(body)
	if err != nil {
		return nil, fmt.Errorf("%s, asked for %s, %w", p.hub.host(), p.name, err)
	}
	if commitHash.MatchString(p.revision) && r.commit != p.revision {
		return nil, fmt.Errorf("%s was asked for commit %s of %s and answers with %s",
			p.hub.host(), p.revision, p.name, r.commit)
	}
	return r, nil
}

// listed is a file in the hub's list.
type listed struct {
	Name   string `json:"rfilename"`
	Size   *int64 `json:"size"`
	BlobID string `json:"blobId"` // git's; of an LFS file, that of the pointer
	LFS    *struct {
		SHA256 string `json:"sha256"`
		Size   *int64 `json:"size"`
	} `json:"lfs"`
}

// parseRevision reads the answer of /api/models/…?blobs=true one file at a time, so that a hostile list takes
// no more memory than its bytes.
func parseRevision(text []byte) (*revision, error) {
	if err := strictjson.Check(text); err != nil {
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) {
			return nil, errPage
		}
		return nil, fmt.Errorf("sends an answer that is not a hub's: it %w", err)
	}
	r := &revision{files: map[string]file{}}
	s := strictjson.NewScanner(text)
	if !s.Take('{') {
		return nil, errors.New("sends an answer that is not a hub's: it is not an object")
	}
	for !s.Take('}') {
		key, err := s.Str()
		if err != nil {
			return nil, err
		}
		s.Take(':')
		switch {
		case key == "sha":
			if err := strictjson.Unmarshal([]byte(s.Raw()), &r.commit); err != nil {
				return nil, fmt.Errorf("sends an answer that is not a hub's: sha: %w", err)
			}
		case key == "siblings" && s.Take('['):
			if err := r.list(s); err != nil {
				return nil, err
			}
		default:
			s.Skip()
		}
		s.Take(',')
	}
	if !commitHash.MatchString(r.commit) {
		return nil, fmt.Errorf("sends an answer without a commit: its sha is %q",
			show.Clip(r.commit, maxQuoted))
	}
	return r, nil
}

// list reads the list of files after its bracket.
func (r *revision) list(s *strictjson.Scanner) error {
	for n := 1; !s.Take(']'); n++ {
		if n > maxListed {
			return fmt.Errorf("lists more than %d files", maxListed)
		}
		var f listed
		if err := strictjson.Unmarshal([]byte(s.Raw()), &f); err != nil {
			return fmt.Errorf("sends an answer that is not a hub's: in the list of files, %w", err)
		}
		if err := r.add(f); err != nil {
			return err
		}
		s.Take(',')
	}
	return nil
}

// add keeps a file that phi3 may ask for. The file has a hash and a size, or neither: see [pull.ask].
func (r *revision) add(l listed) error {
	limit, wanted := sizeLimit(l.Name)
	if !wanted {
		r.note(l.Name)
		return nil
	}
	f := file{name: l.Name, hash: l.BlobID}
	size, pattern := l.Size, commitHash
	if l.LFS != nil {
		f.hash, size, pattern = l.LFS.SHA256, l.LFS.Size, sha256Hex
	}
	if l.LFS == nil && l.BlobID == "" {
		f.size = -1
		r.files[l.Name] = f
		return nil
	}
	if !pattern.MatchString(f.hash) {
		return fmt.Errorf("lists %s without a valid hash: it is %q", l.Name, show.Clip(f.hash, maxQuoted))
	}
	if size == nil || *size < 0 || *size > limit {
		return fmt.Errorf("lists %s without a size in 0 … %d", l.Name, limit)
	}
	f.size = *size
	r.files[l.Name] = f
	return nil
}

// sizeLimit returns the largest size of a file, and whether phi3 reads files of that name.
func sizeLimit(name string) (bytes int64, wanted bool) {
	if isWeights(name) && name != adapterName || isGGUF(name) {
		return maxShardBytes, true
	}
	return maxSmallBytes, name == indexName || slices.Contains(besideWeights, name)
}

// note remembers the kinds of weights that a repository has and phi3 does not read, for messages.
func (r *revision) note(name string) {
	for _, ending := range []string{".bin", ".pth", ".pt", ".onnx", adapterName} {
		if strings.HasSuffix(name, ending) && !slices.Contains(r.others, ending) {
			r.others = append(r.others, ending)
		}
	}
}

// ask asks for the hash and the size of a file if the list does not have them: a mirror may not know
// ?blobs=true. They are in the headers, where huggingface_hub reads them.
func (p *pull) ask(ctx context.Context, commit string, f file) (file, error) {
	if f.hash != "" {
		return f, nil
	}
	var a *answer
	err := p.retry(ctx, f.name, attempts, func() (bool, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, p.hub.stall, &networkError{errSilent})
		defer cancel()
		var err error
		header := http.Header{"Accept-Encoding": {"identity"}}
		if a, err = p.hub.send(ctx, http.MethodHead, p.address(commit, f.name), header); err != nil {
			return false, err
		}
		_ = a.Body.Close()
		if a.StatusCode >= http.StatusBadRequest {
			return false, p.hub.statusError(a)
		}
		return false, nil
	})
	if err != nil {
		return f, fmt.Errorf("ask for the hash of %s: %w", f.name, p.explain(err))
	}
	size := a.size
	if size == "" && a.StatusCode == http.StatusOK && a.ContentLength >= 0 {
		size = strconv.FormatInt(a.ContentLength, 10)
	}
	f.hash = a.etag
	f.size, err = strconv.ParseInt(size, 10, 64)
	limit, _ := sizeLimit(f.name)
	switch {
	case a.isPage() && !sha256Hex.MatchString(f.hash) && !commitHash.MatchString(f.hash):
		return f, fmt.Errorf("%s %w", a.Request.URL.Host, errPage)
	case a.commit != "" && a.commit != commit:
		return f, fmt.Errorf("%s has commit %s of %s, not %s",
			p.hub.host(), show.Message(a.commit), f.name, commit)
	case !commitHash.MatchString(f.hash) && !sha256Hex.MatchString(f.hash):
		return f, fmt.Errorf("%s does not tell the hash of %s: it does not answer ?blobs=true, and its "+
			"ETag is %q; set HF_ENDPOINT to another mirror",
			p.hub.host(), f.name, show.Message(f.hash))
	case err != nil || f.size < 0 || f.size > limit:
		return f, fmt.Errorf("%s does not tell the size of %s, in 0 … %d bytes, but %q",
			p.hub.host(), f.name, limit, show.Message(size))
	}
	return f, nil
}

// address is the address of a file on the hub.
func (p *pull) address(commit, name string) string {
	return fmt.Sprintf("%s/%s/resolve/%s/%s", p.hub.Endpoint, p.name, commit, url.PathEscape(name))
}

var (
	sha256Hex   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	weightsFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors$`)
)

// isWeights reports whether a name is that of a weights file at the top of a repository. Such a name is safe
// as a path.
func isWeights(name string) bool {
	return weightsFile.MatchString(name) && !strings.Contains(name, "..")
}

// small lists the files that are downloaded first: all but the weights. It fails if phi3 cannot run the
// repository whatever the files contain.
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
	case slices.Contains(missing, vocabName) && slices.Contains(missing, "tokenizer.model") &&
		slices.Contains(missing, "vocab.json"):
		return nil, nil, errors.New("has no tokenizer: no tokenizer.json, tokenizer.model or vocab.json")
	case !whole: // a repository may have both, and then the single file is read
		files = append(files, index)
	}
	return files, missing, nil
}

// withoutWeights is the error for a repository without safetensors. It names what there is instead.
func (r *revision) withoutWeights() error {
	others := r.others
	if len(others) == 0 {
		return fmt.Errorf("has neither %s nor %s, and no GGUF file", weightsName, indexName)
	}
	slices.Sort(others)
	return fmt.Errorf("has weights as %s only; phi3 reads safetensors (%s, or %s and its shards) and GGUF",
		strings.Join(others, ", "), weightsName, indexName)
}

// weights lists the files of the weights. shards are the files that the index names.
func (r *revision) weights(shards []string) ([]file, error) {
	if f, ok := r.files[weightsName]; ok {
		return []file{f}, nil
	}
	return r.named(shards, indexName+" names the shard %q, which the repository does not have")
}

// named returns the files of weights of these names. absent is the error for one that is not there, with %q
// for its name.
func (r *revision) named(names []string, absent string) ([]file, error) {
	var files []file
	for _, name := range names {
		f, ok := r.files[name]
		if !ok || !isWeights(name) && !isGGUF(name) {
			return nil, fmt.Errorf(absent, show.Clip(name, maxQuoted))
		}
		files = append(files, f)
	}
	return files, nil
}
