// Package openai is OpenAI's protocol without HTTP: it turns the JSON of a request into requests to the
// engine, and the engine's tokens into the JSON of the response.
//
//	body ──parse──► request ──text.Codec──► prompts ──► choices ──engine──► tokens ──text.Answer──► events
//	                                                                                                │
//	                                            Answer.Chunks, Answer.Whole ◄──shape: chat, completion
//
// The table in parameters.go has every parameter that the package knows. A parameter that cannot be honoured
// is an error that names it; none is ignored.
package openai

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"

	"phi3/internal/engine"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/text"
)

// Service answers requests with one model. Its fields must not change after the first request. Any number of
// goroutines may use it.
type Service struct {
	Engine  *engine.Engine
	Codec   *text.Codec
	Config  *model.Config
	Context int    // the model's, in tokens
	Name    string // that requests give as model
	Created int64  // of the model, in seconds since 1970
	// Fingerprint is the system_fingerprint of responses: the same text as long as the same request gives the
	// same answer. "" makes it null.
	Fingerprint string
	// Defaults has the values of parameters that a request leaves out: [generate.ReadDefaults] with draws.
	Defaults *generate.Defaults

	dropsSystem bool // the chat template leaves system messages out
	once        sync.Once
}

// modelObject is a model as the protocol lists it. max_model_len is vLLM's addition.
type modelObject struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	OwnedBy     string `json:"owned_by"`
	MaxModelLen int    `json:"max_model_len"`
}

// Models is the response to GET /v1/models.
func (s *Service) Models() any {
	return struct {
		Object string        `json:"object"`
		Data   []modelObject `json:"data"`
	}{"list", []modelObject{s.object()}}
}

// Model is the response to GET /v1/models/NAME. The error is an [*Error].
func (s *Service) Model(name string) (any, error) {
	if err := s.checkModel(name); err != nil {
		return nil, err
	}
	return s.object(), nil
}

func (s *Service) object() modelObject {
	return modelObject{s.Name, "model", s.Created, "phi3", s.Context}
}

// checkModel returns an error unless name is the model's name.
func (s *Service) checkModel(name string) error {
	if name == s.Name {
		return nil
	}
	return &Error{
		Status: 404, Type: invalidRequest, Param: new("model"), Code: new("model_not_found"),
		Message: fmt.Sprintf("The model `%s` does not exist. This server has the model `%s`.",
			brief(name), s.Name),
	}
}

// newID returns a random id such as chatcmpl-7QDP3ZJZ2OJ2VQWY4WPUNMQDDG.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }
