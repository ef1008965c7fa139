package batch

import (
	"context"
	"errors"
	"net/http"

	"phi3/internal/openai"
)

// Answers answers requests with a service.
func Answers(s *openai.Service) Answer {
	return func(ctx context.Context, r *Request) (*Response, error) {
		response, err := answer(ctx, s, r)
		var refused *openai.Error
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.As(err, &refused):
			return response, err
		case refused.Status == http.StatusTooManyRequests || refused.Status >= http.StatusInternalServerError:
			// another run may answer it
			if cause := refused.Unwrap(); cause != nil {
				err = cause
			}
			return nil, err
		}
		return &Response{Status: refused.Status, Body: refused}, nil
	}
}

func answer(ctx context.Context, s *openai.Service, r *Request) (*Response, error) {
	read := s.Chat
	if r.URL == CompletionURL {
		read = s.Completion
	}
	a, err := read(ctx, r.Body)
	if err != nil {
		return nil, err
	}
	if a.Stream() {
		param := "stream"
		return nil, &openai.Error{
			Status: http.StatusBadRequest, Type: "invalid_request_error", Param: &param,
			Message: "stream is true. A batch has no streams; leave stream out.",
		}
	}
	a.Name(r.Name())
	body, err := a.Whole(ctx)
	if err != nil {
		return nil, err
	}
	stats := a.Stats()
	return &Response{
		Status: http.StatusOK, Body: body, Prompt: stats.Prompt, Generated: stats.Generated,
	}, nil
}
