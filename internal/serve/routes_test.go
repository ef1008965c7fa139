package serve

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/explore"
)

func TestRoutes(t *testing.T) {
	s := start(t, setup{Options: Options{Version: "phi3 test"}})
	large := strings.Repeat(" ", 3<<20)
	for _, test := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"GET", "/health", "", 200, `{"status":"ok"}`},
		{"HEAD", "/health", "", 200, ""},
		{"GET", "/version", "", 200, `{"version":"phi3 test"}`},
		{"GET", "/metrics", "", 200, "phi3:num_requests_running{model_name=\"phi3-demo\"} 0\n"},
		{"GET", "/v1/models", "", 200, `{"object":"list","data":[{"id":"phi3-demo"`},
		{"GET", "/v1/models/phi3-demo", "", 200, `{"id":"phi3-demo"`},
		{"GET", "/v1/models/phi3%2Ddemo", "", 200, `{"id":"phi3-demo"`},
		{"GET", "/v1/models/org/name", "", 404, `"code":"model_not_found"`},
		{"GET", "/v1/models/org%2Fname", "", 404, "org/name"},
		{"POST", "/v1/completions", `{"prompt": "Hello", "max_tokens": 1}`, 200, `"text_completion"`},
		{
			"POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "Hello"}]}`, 200,
			`"object":"chat.completion"`,
		},
		{"POST", "/tokenize", `{"prompt": "Hello"}`, 200, `"tokens":[`},
		{"POST", "/detokenize", `{"tokens": [5]}`, 200, `{"`},
		{"POST", "/v1/completions", `{"prompt": "Hello"`, 400, `"type":"invalid_request_error"`},
		{"POST", "/v1/completions", `{"prompt": "Hello", "model": "gpt-4"}`, 404, `"code":"model_not_found"`},
		{"POST", "/v1/completions", `{"prompt": "` + large + `"}`, 413, `"type":"invalid_request_error"`},
		{"GET", "/v1/completions", "", 405, "takes POST requests"},
		{"POST", "/health", "{}", 405, "takes GET requests"},
		{"OPTIONS", "/v1/completions", "", 405, "takes POST requests"},
		{"GET", "/", "", 200, "<title>phi3 explore</title>"},
		{"HEAD", "/", "", 200, ""},
		{"POST", "/explore.js", "{}", 405, "takes GET requests"},
		{"GET", "/x/../index.html", "", 404, "/v1/chat/completions"},
		{"GET", "/..%2Fpage/index.html", "", 404, ""},
		{"GET", "/index.html/", "", 404, ""},
		{"GET", "//", "", 404, ""},
		{"GET", "/nothing", "", 404, "/v1/chat/completions"},
		{"GET", "/explore/model", "", 200, `"chat_template":true`},
		{"POST", "/explore/tokens", `{"text": "Berlin"}`, 200, `"bytes":"204265726c696e"`},
		{"POST", "/explore/tokens", `{"text": 1}`, 400, `"param":"text"`},
		{"POST", "/explore/next", `{"ids": [5]}`, 200, `{"candidates":[{"rank":1,"id":`},
		{"POST", "/explore/layers", `{"ids": [5], "from": 1}`, 400, `"param":"from"`}, // before the stream
		{"POST", "/explore/cache", `{"ids": []}`, 400, `"param":"ids"`},
		{"GET", "/explore/next", "", 405, "takes POST requests"},
		{"POST", "/v1/embeddings", "{}", 404, `"code":"unknown_url"`},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			response, body := s.do(s.request(test.method, test.path, test.body))
			require.Equal(t, test.status, response.StatusCode, body)
			require.Contains(t, body, test.contains)
			require.NotEmpty(t, response.Header.Get("X-Request-Id"))
			if test.status == 405 {
				require.Contains(t, body, response.Header.Get("Allow")+" requests")
			}
			if test.status >= 400 {
				require.Equal(t, "application/json", response.Header.Get("Content-Type"))
				require.Regexp(t, `^{"error":{"message":".*","type":".*","param":.*,"code":.*}}\n$`, body)
			}
		})
	}
}

// A body of another type than JSON is refused: a web page could send it without asking.
func TestContentType(t *testing.T) {
	s := start(t, setup{})
	for kind, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON": 200,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "application/jsonl": 415,
	} {
		r := s.request("POST", "/tokenize", `{"prompt": "Hello"}`)
		r.Header.Set("Content-Type", kind)
		response, body := s.do(r)
		require.Equal(t, status, response.StatusCode, "%q: %s", kind, body)
	}
}

// A body that has no length, or a wrong one, or that does not come, is bounded too.
func TestBodyLimits(t *testing.T) {
	s := start(t, setup{})
	r := s.request("POST", "/tokenize", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", 3<<20))), -1
	r.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(r)
	if err == nil { // the server may close the connection while the client writes
		require.Equal(t, 413, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}

	s = start(t, setup{change: func(s *Server) { s.bodyTimeout = 50 * time.Millisecond }})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /tokenize HTTP/1.1\r\nHost: localhost\r\n"+
		"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(answer), "HTTP/1.1 408 ")
	require.Contains(t, string(answer), "The body did not come within 50ms.")
	eventually(t, func() bool { return s.gate.inside() == 0 })
}

// The body of a request that is refused, or needs none, may not come either. net/http waits for it before it
// answers. The answer comes nevertheless: before the time for it ends, however long a body may take.
func TestBodyThatNobodyReads(t *testing.T) {
	s := start(t, setup{Options: Options{Key: "secret"}, change: func(s *Server) {
		s.bodyTimeout, s.writeTimeout = time.Hour, 4*time.Second
	}})
	conns := map[net.Conn]string{}
	for head, status := range map[string]string{
		"GET /health HTTP/1.1\r\n":                                       "200 OK",
		"POST /v1/completions HTTP/1.1\r\n":                              "401 Unauthorized",
		"POST /tokenize HTTP/1.1\r\nAuthorization: Bearer secret\r\n":    "415 Unsupported Media Type",
		"POST /nothing HTTP/1.1\r\nAuthorization: Bearer secret\r\n":     "404 Not Found",
		"POST /v1/models/m HTTP/1.1\r\nAuthorization: Bearer secret\r\n": "405 Method Not Allowed",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		conns[conn] = status
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(2*time.Minute)))
		_, err = io.WriteString(conn, head+"Host: localhost\r\nContent-Length: 20\r\n\r\n{")
		require.NoError(t, err)
	}
	for conn, status := range conns { // all wait at the same time
		answer, err := io.ReadAll(conn)
		require.NoError(t, err, status)
		require.Contains(t, string(answer), "HTTP/1.1 "+status)
	}
}

func TestKey(t *testing.T) {
	s := start(t, setup{Options: Options{Key: "secret"}})
	for _, test := range []struct {
		path, header string
		status       int
	}{
		{"/v1/models", "", 401},
		{"/v1/models", "Bearer", 401},
		{"/v1/models", "Bearer ", 401},
		{"/v1/models", "Bearer secre", 401},
		{"/v1/models", "Bearer secret2", 401},
		{"/v1/models", "Basic secret", 401},
		{"/v1/models", "secret", 401},
		{"/v1/models", "Bearer secret", 200},
		{"/v1/models", "bearer  secret", 200},
		{"/metrics", "", 401},
		{"/version", "", 401},
		{"/no/such/path", "", 401},
		{"/no/such/path", "Bearer secret", 404},
		{"/health", "", 200},
	} {
		r := s.request("GET", test.path, "")
		if test.header != "" {
			r.Header.Set("Authorization", test.header)
		}
		response, body := s.do(r)
		require.Equal(t, test.status, response.StatusCode, "%s %q: %s", test.path, test.header, body)
		if test.status == 401 {
			require.Equal(t, "Bearer", response.Header.Get("WWW-Authenticate"))
			require.Contains(t, body, `"code":"invalid_api_key"`)
		}
	}
	require.NotContains(t, s.logged.String(), "secret")
}

// Without a key, a server on this machine refuses requests for other names, which web pages can make point to
// it. With a key, or in a network, a name may be anything.
func TestHost(t *testing.T) {
	local, guarded := start(t, setup{}), start(t, setup{Options: Options{Key: "secret"}})
	for host, status := range map[string]int{
		"localhost": 200, "LOCALHOST:8080": 200, "127.0.0.1:80": 200, "[::1]:8080": 200, "10.0.0.1": 200,
		"phi3.localhost": 200, "example.com": 403, "localhost.example.com:8080": 403,
		"127.0.0.1.example.com": 403,
	} {
		r := local.request("GET", "/v1/models", "")
		r.Host = host
		response, body := local.do(r)
		require.Equal(t, status, response.StatusCode, "%s: %s", host, body)
		r = guarded.request("GET", "/v1/models", "")
		r.Host = host
		r.Header.Set("Authorization", "Bearer secret")
		response, body = guarded.do(r)
		require.Equal(t, 200, response.StatusCode, "%s: %s", host, body)
	}
}

func TestCORS(t *testing.T) {
	ask := func(s *served, method, origin string) reply {
		r := s.request(method, "/v1/models", "")
		r.Header.Set("Origin", origin)
		if method == "OPTIONS" {
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization,x-stainless-lang")
		}
		response, _ := s.do(r)
		return response
	}
	const page, other = "https://page.example", "https://other.example"
	off := start(t, setup{})
	require.Empty(t, ask(off, "GET", page).Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, 405, ask(off, "OPTIONS", page).StatusCode)

	one := start(t, setup{Options: Options{Origins: []string{page}, Key: "secret"}})
	preflight := ask(one, "OPTIONS", page)
	require.Equal(t, 204, preflight.StatusCode)
	require.Equal(t, page, preflight.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "authorization,x-stainless-lang", preflight.Header.Get("Access-Control-Allow-Headers"))
	require.Equal(t, page, ask(one, "GET", page).Header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, ask(one, "GET", other).Header.Get("Access-Control-Allow-Origin"))
	require.NotEqual(t, 204, ask(one, "OPTIONS", other).StatusCode)

	all := start(t, setup{Options: Options{Origins: []string{"*"}}})
	require.Equal(t, other, ask(all, "GET", other).Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Origin", ask(all, "GET", other).Header.Get("Vary"))
}

func TestRequestID(t *testing.T) {
	s := start(t, setup{})
	for given, kept := range map[string]bool{
		"abc-1_2.3:4": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false,
		"a b": false, "a\tb": false, "\u00e9": false, "a;b": false,
	} {
		r := s.request("GET", "/v1/models", "")
		r.Header.Set("X-Request-Id", given)
		response, _ := s.do(r)
		id := response.Header.Get("X-Request-Id")
		if kept {
			require.Equal(t, given, id)
		} else {
			require.Regexp(t, `^req-[a-z2-7]{26}$`, id)
		}
		s.logs(id)
	}
}

// While the model loads, the server answers: only /health knows more than "later".
func TestLoading(t *testing.T) {
	s := start(t, setup{loading: true})
	response, body := s.get("/health")
	require.Equal(t, 503, response.StatusCode)
	require.JSONEq(t, `{"status": "loading"}`, body)
	for _, path := range []string{"/v1/models", "/metrics", "/version"} {
		response, body = s.get(path)
		require.Equal(t, 503, response.StatusCode)
		require.Equal(t, "5", response.Header.Get("Retry-After"))
		require.Contains(t, body, `"message":"The model is loading."`)
	}
	service, _ := newService(t, 1, 0, 0)
	s.Ready(explore.New(service, "cpu"))
	response, _ = s.get("/health")
	require.Equal(t, 200, response.StatusCode)
}

// A defect of the program ends one request, not the server.
func TestPanic(t *testing.T) {
	s := start(t, setup{})
	s.ready.Load().Codec = nil
	response, body := s.post("/tokenize", `{"prompt": "Hello"}`)
	require.Equal(t, 500, response.StatusCode)
	require.Contains(t, body, `"code":"internal_error"`)
	require.NotContains(t, body, "nil pointer")
	require.Regexp(t, `level=ERROR msg=panic .*nil pointer.*stack=`, s.logged.String())
	eventually(t, func() bool { return s.gate.inside() == 0 })
	response, _ = s.get("/health")
	require.Equal(t, 200, response.StatusCode)
}

// Browsers run the page's program only if its type is that of a program, whatever the system's table of types
// says.
func TestPageTypes(t *testing.T) {
	before := mime.TypeByExtension(".js")
	require.NoError(t, mime.AddExtensionType(".js", "text/plain"))
	t.Cleanup(func() { require.NoError(t, mime.AddExtensionType(".js", before)) })
	s := start(t, setup{Options: Options{Key: "secret"}})
	kinds := map[string]string{"/": "html", "/explore.js": "javascript", "/explore.css": "css"}
	for url, kind := range kinds {
		response, body := s.get(url)
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "text/"+kind+"; charset=utf-8", response.Header.Get("Content-Type"))
		require.Equal(t, pagePolicy, response.Header.Get("Content-Security-Policy"))
		require.Equal(t, "no-cache", response.Header.Get("Cache-Control"))
		require.Equal(t, strconv.Itoa(len(body)), response.Header.Get("Content-Length"))
	}
	files, err := pageFiles.ReadDir("page")
	require.NoError(t, err)
	for _, file := range files {
		require.Contains(t, pageTypes, path.Ext(file.Name()))
	}
}

// goneWriter is the connection of a client that has gone away.
type goneWriter struct{ *httptest.ResponseRecorder }

func (goneWriter) Write([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// A client that goes away while the server writes a whole answer is no error of the server's.
func TestGoneWhileWriting(t *testing.T) {
	s := start(t, setup{})
	for _, path := range []string{"/version", "/", "/nothing"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "localhost"
		s.ServeHTTP(goneWriter{httptest.NewRecorder()}, r)
	}
	require.NotContains(t, s.logged.String(), "level=ERROR")
	require.Equal(t, 2, strings.Count(s.logged.String(), `error="the client has gone away"`))
}

// The metrics count requests and tokens.
func TestMetrics(t *testing.T) {
	s := start(t, setup{})
	s.get("/metrics")
	s.post("/v1/completions", `{"prompt": "The capital of Germany is", "max_tokens": 3, "ignore_eos": true, "n": 2}`)
	s.post("/v1/completions", `{"prompt": 1.5}`)
	s.get("/path/of/a/client")
	s.logsRequests(4)
	eventually(t, func() bool { return s.engine.Stats().Running == 0 })
	_, body := s.get("/metrics")
	for _, line := range []string{
		`http_requests_total{code="200",model_name="phi3-demo",route="/metrics"} 1`,
		`http_requests_total{code="200",model_name="phi3-demo",route="/v1/completions"} 1`,
		`http_requests_total{code="400",model_name="phi3-demo",route="/v1/completions"} 1`,
		`http_requests_total{code="404",model_name="phi3-demo",route="unknown"} 1`,
		`request_success_total{finished_reason="length",model_name="phi3-demo"} 2`,
		`generation_tokens_total{model_name="phi3-demo"} 6`,
		`prefix_cache_queries_total{model_name="phi3-demo"} 10`,
		`time_to_first_token_seconds_count{model_name="phi3-demo"} 1`,
		`inter_token_latency_seconds_count{model_name="phi3-demo"} 4`,
		`e2e_request_latency_seconds_count{model_name="phi3-demo"} 1`,
		`request_queue_time_seconds_count{model_name="phi3-demo"} 1`,
		`request_prompt_tokens_sum{model_name="phi3-demo"} 5`,
		`request_generation_tokens_sum{model_name="phi3-demo"} 6`,
		`request_generation_tokens_bucket{model_name="phi3-demo",le="500"} 1`,
		`num_requests_running{model_name="phi3-demo"} 0`,
	} {
		require.Contains(t, body, "\nphi3:"+line+"\n")
	}
	require.Contains(t, body, "\nprocess_resident_memory_bytes ")
}

// A line of the log says what a request took, and nothing of what it said.
func TestLog(t *testing.T) {
	s := start(t, setup{})
	s.post("/v1/completions", `{"prompt": "The capital of Germany is", "max_tokens": 3, "ignore_eos": true}`)
	s.post("/v1/completions", `{"prompt": "The capital of Germany is", "max_tokens": -3}`)
	s.get("/v1/nothing%E2%80%AE%1B[31m%0Ahere")
	s.logsRequests(3)
	log := s.logged.String()
	require.Regexp(t, `level=INFO msg=request id=req-\w+ method=POST route=/v1/completions status=200 `+
		`prompt=5 cached=0 generated=3 queue_ms=[\d.]+ first_ms=[\d.]+ finish=length total_ms=[\d.]+\n`, log)
	require.Regexp(t, `status=400 total_ms=[\d.]+ error=".*max_tokens`, log)
	require.NotContains(t, log, "capital")
	require.NotRegexp(t, regexp.MustCompile("\x1b|\u202e|\nhere"), log)

	s = start(t, setup{Options: Options{LogPrompts: true}})
	s.post("/v1/completions", `{"prompt": "The capital of Germany is", "max_tokens": 3}`)
	s.logs(`request="{\"prompt\": \"The capital of Germany is\"`)
}
