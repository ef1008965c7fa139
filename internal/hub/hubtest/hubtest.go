// Package hubtest is a Hugging Face hub for tests. It answers as the hub does, and redirects requests for
// weights to a second server, as the hub does to its CDN. Tests can plan faults. Python's huggingface_hub
// works with it too, if HF_ENDPOINT has its URL.
package hubtest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's hash
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strings"
	"sync"
	"time"
)

// Server is a hub and its CDN. After the first request, change the fields only in [Server.Do].
type Server struct {
	URL     string // of the hub, for HF_ENDPOINT
	Token   string // the token that gives access to gated models
	Gated   map[string]bool
	Renamed map[string]string // from old names to new ones
	Leaked  bool              // set if a client sent its token to the CDN
	Login   string            // "name:password" that every request needs, as on some mirrors
	Plain   bool              // ignore ?blobs=true, as some mirrors do
	ETag    string            // the ETag of every small file; "": its hash

	mu       sync.Mutex
	hub, cdn *httptest.Server
	repos    map[string]*Repo
	faults   map[string][]Fault
	requests []string
}

// Repo is the repository of a model.
type Repo struct {
	Refs    map[string]string            // name of a revision, commit
	Commits map[string]map[string][]byte // commit, file name, content
}

// Fault answers a request in the server's place. It returns false to let the server answer after all.
type Fault func(w http.ResponseWriter, r *http.Request, content []byte) bool

// New starts a hub with no models. The caller closes it.
func New() *Server {
	s := &Server{
		repos: map[string]*Repo{}, faults: map[string][]Fault{}, Gated: map[string]bool{},
		Renamed: map[string]string{},
	}
	s.hub = httptest.NewServer(http.HandlerFunc(s.serveHub))
	s.cdn = httptest.NewServer(http.HandlerFunc(s.serveCDN))
	s.URL = s.hub.URL
	return s
}

// Close stops both servers.
func (s *Server) Close() {
	s.hub.CloseClientConnections()
	s.cdn.CloseClientConnections()
	s.hub.Close()
	s.cdn.Close()
}

// Do calls f while no request is being answered.
func (s *Server) Do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Add adds a model to the hub, or a new commit to a model. The commit becomes main. Add returns it.
func (s *Server) Add(name string, files map[string][]byte) (commit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repos[name]
	if repo == nil {
		repo = &Repo{Refs: map[string]string{}, Commits: map[string]map[string][]byte{}}
		s.repos[name] = repo
	}
	//nolint:gosec // any 40 digits
	commit = fmt.Sprintf("%x", sha1.Sum([]byte(fmt.Sprint(name, len(repo.Commits)))))
	repo.Commits[commit] = files
	repo.Refs["main"] = commit
	return commit
}

// Alias gives the commit of main another revision name.
func (s *Server) Alias(name, revision string) {
	s.Do(func() { s.repos[name].Refs[revision] = s.repos[name].Refs["main"] })
}

// Fail plans faults: each of the next requests for the content of the file takes one. The file "api" stands
// for the list of files.
func (s *Server) Fail(file string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[file] = append(s.faults[file], faults...)
}

// Requests returns the requests so far: method, path, and the Range if there was one.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// Forget clears the list that Requests returns.
func (s *Server) Forget() { s.Do(func() { s.requests = nil }) }

// Hash returns the name of a file in the cache: SHA-256 for files in LFS, git's SHA-1 for others.
func Hash(file string, content []byte) string {
	if IsLFS(file) {
		return fmt.Sprintf("%x", sha256.Sum256(content))
	}
	blob := append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...)
	return fmt.Sprintf("%x", sha1.Sum(blob)) //nolint:gosec // git's
}

// IsLFS reports whether the hub keeps a file in LFS. The CDN serves such files.
func IsLFS(file string) bool {
	return strings.HasSuffix(file, ".safetensors") || strings.HasSuffix(file, ".bin") ||
		strings.HasSuffix(file, ".gguf") ||
		file == "tokenizer.model"
}

func (s *Server) log(r *http.Request) {
	line := r.Method + " " + r.URL.Path
	if span := r.Header.Get("Range"); span != "" {
		line += " " + span
	}
	s.requests = append(s.requests, line)
}

// fault removes the next fault from a file's list and lets it answer. It returns false if there is no answer
// yet.
func (s *Server) fault(file string, w http.ResponseWriter, r *http.Request, content []byte) bool {
	s.mu.Lock()
	list := s.faults[file]
	if len(list) == 0 || r.Method != http.MethodGet {
		s.mu.Unlock()
		return false
	}
	s.faults[file] = list[1:]
	s.mu.Unlock()
	return list[0](w, r, content)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
}

// find looks up a revision. If it returns no files, it has answered the request with an error.
func (s *Server) find(
	w http.ResponseWriter, r *http.Request, name, revision string,
) (commit string, files map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repos[name]
	sent := r.Header.Get("Authorization")
	if user, password, ok := r.BasicAuth(); s.Login != "" && ok && user+":"+password == s.Login {
		sent = ""
	} else if s.Login != "" {
		sent = "none"
	}
	switch {
	case sent != "" && sent != "Bearer "+s.Token:
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
	case repo == nil && sent == "":
		refuse(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
	case repo == nil:
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
	case s.Gated[name] && sent == "":
		refuse(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+name+" is restricted.")
	default:
		commit = repo.Refs[revision]
		if commit == "" {
			commit = revision
		}
		if files = repo.Commits[commit]; files == nil {
			refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		}
	}
	return commit, files
}

func (s *Server) serveHub(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log(r)
	renamed := r.URL.Path
	for from, to := range s.Renamed {
		renamed = strings.Replace(renamed, from+"/", to+"/", 1)
	}
	s.mu.Unlock()
	if renamed != r.URL.Path {
		target := url.URL{Path: renamed, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, target.String(), http.StatusTemporaryRedirect)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/api/models/"); ok {
		if name, rest, ok := strings.Cut(path, "/tree/"); ok {
			revision, _, _ := strings.Cut(rest, "/")
			s.tree(w, r, name, revision)
			return
		}
		name, revision, found := strings.Cut(path, "/revision/")
		if !found {
			revision = "main"
		}
		s.list(w, r, name, revision)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/api/resolve-cache/models/"); ok {
		parts := strings.SplitN(path, "/", 4) // org, name, commit, file
		if len(parts) == 4 {
			s.small(w, r, parts[0]+"/"+parts[1], parts[2], parts[3])
			return
		}
	}
	name, path, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/resolve/")
	revision, file, ok2 := strings.Cut(path, "/")
	if !ok || !ok2 {
		refuse(w, http.StatusNotFound, "", "")
		return
	}
	commit, files := s.find(w, r, name, revision)
	if files == nil {
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	content, ok := files[file]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
	case s.fault(file+" at the hub", w, r, content):
	case IsLFS(file):
		w.Header().Set("X-Linked-Etag", `"`+Hash(file, content)+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(content)))
		query := url.Values{"name": {name}, "commit": {commit}, "file": {file}, "Signature": {"secret"}}
		http.Redirect(w, r, s.cdn.URL+"/lfs?"+query.Encode(), http.StatusFound)
	default:
		http.Redirect(w, r, "/api/resolve-cache/models/"+name+"/"+commit+"/"+file,
			http.StatusTemporaryRedirect)
	}
}

// list answers /api/models/….
func (s *Server) list(w http.ResponseWriter, r *http.Request, name, revision string) {
	commit, files := s.find(w, r, name, revision)
	if files == nil || s.fault("api", w, r, nil) {
		return
	}
	type lfs struct {
		SHA256      string `json:"sha256"`
		Size        int    `json:"size"`
		PointerSize int    `json:"pointerSize"`
	}
	type sibling struct {
		Name   string `json:"rfilename"`
		Size   *int   `json:"size,omitempty"`
		BlobID string `json:"blobId,omitempty"`
		LFS    *lfs   `json:"lfs,omitempty"`
	}
	var plain bool
	s.Do(func() { plain = s.Plain })
	answer := struct {
		ID        string    `json:"id"`
		SHA       string    `json:"sha"`
		Tags      []string  `json:"tags"` // Python's library needs this and the next fields
		Private   bool      `json:"private"`
		Downloads int       `json:"downloads"`
		Likes     int       `json:"likes"`
		Siblings  []sibling `json:"siblings"`
	}{ID: name, SHA: commit, Tags: []string{}}
	for file, content := range files {
		f := sibling{Name: file}
		if r.URL.Query().Has("blobs") && !plain {
			size := len(content)
			f.Size, f.BlobID = &size, Hash("pointer", []byte(file))
			if IsLFS(file) {
				f.LFS = &lfs{Hash(file, content), size, 130}
			} else {
				f.BlobID = Hash(file, content)
			}
		}
		answer.Siblings = append(answer.Siblings, f)
	}
	sort.Slice(answer.Siblings, func(i, j int) bool {
		return answer.Siblings[i].Name < answer.Siblings[j].Name
	})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// tree answers /api/models/…/tree/…, which Python's library requests since version 2.
func (s *Server) tree(w http.ResponseWriter, r *http.Request, name, revision string) {
	_, files := s.find(w, r, name, revision)
	if files == nil {
		return
	}
	type lfs struct {
		OID         string `json:"oid"`
		Size        int    `json:"size"`
		PointerSize int    `json:"pointerSize"`
	}
	type entry struct {
		Type string `json:"type"`
		OID  string `json:"oid"`
		Size int    `json:"size"`
		Path string `json:"path"`
		LFS  *lfs   `json:"lfs,omitempty"`
	}
	answer := []entry{}
	for file, content := range files {
		e := entry{Type: "file", OID: Hash(file, content), Size: len(content), Path: file}
		if IsLFS(file) {
			e.OID, e.LFS = Hash("pointer", []byte(file)), &lfs{Hash(file, content), len(content), 130}
		}
		answer = append(answer, e)
	}
	sort.Slice(answer, func(i, j int) bool { return answer[i].Path < answer[j].Path })
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// small serves a file that is not in LFS.
func (s *Server) small(w http.ResponseWriter, r *http.Request, name, commit, file string) {
	_, files := s.find(w, r, name, commit)
	if files == nil {
		return
	}
	content := files[file]
	w.Header().Set("X-Repo-Commit", commit)
	w.Header().Set("ETag", `W/"`+Hash(file, content)+`"`)
	s.Do(func() {
		if s.ETag != "" {
			w.Header().Set("ETag", `"`+strings.TrimSpace(s.ETag)+`"`)
		}
	})
	if s.fault(file, w, r, content) {
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// serveCDN serves a file that is in LFS. Like the real CDN, it needs a signature in the URL and refuses
// requests that also have an Authorization header.
func (s *Server) serveCDN(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	file := query.Get("file")
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" cdn/"+file+" "+r.Header.Get("Range")))
	var content []byte
	if repo := s.repos[query.Get("name")]; repo != nil {
		content = repo.Commits[query.Get("commit")][file]
	}
	leaked := r.Header.Get("Authorization") != ""
	s.Leaked = s.Leaked || leaked
	s.mu.Unlock()
	if leaked || query.Get("Signature") != "secret" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("ETag", `"the-cdn's-own"`)
	if s.fault(file, w, r, content) {
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
