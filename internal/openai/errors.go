package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/show"
)

// The values of Error.Type.
const (
	invalidRequest = "invalid_request_error"
	rateLimit      = "rate_limit_error"
	serverError    = "server_error"
)

// Error is an error in the protocol's terms. Its JSON is the body of the response.
type Error struct {
	Status     int           // of HTTP
	RetryAfter time.Duration // when to try again; 0: not said
	Message    string
	Type       string
	Param      *string // the parameter that is wrong
	Code       *string
	cause      error // what happened, where the message does not say it
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the error that the client is not told about, for logs.
func (e *Error) Unwrap() error { return e.cause }

// MarshalJSON implements [json.Marshaler].
func (e *Error) MarshalJSON() ([]byte, error) {
	type object struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	return json.Marshal(map[string]object{"error": {e.Message, e.Type, e.Param, e.Code}})
}

// StatusClosed is the Error.Status of a request whose client has gone away. Nobody sees it but logs.
const StatusClosed = 499

// AsError returns err in the protocol's terms. What a client cannot change is a server error without details;
// its cause is in Unwrap.
func AsError(err error) *Error {
	var known *Error
	var tooLong *model.TooLongError
	var outOfRange *sampling.RangeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, engine.ErrBusy):
		return &Error{
			Status: 429, RetryAfter: time.Second, Type: rateLimit, Code: new("rate_limit_exceeded"),
			Message: "The server is busy and its queue is full. Try again later.", cause: err,
		}
	case errors.Is(err, engine.ErrClosed):
		return &Error{
			Status: 503, RetryAfter: 10 * time.Second, Type: serverError, Code: new("shutting_down"),
			Message: "The server is shutting down.", cause: err,
		}
	case errors.As(err, &tooLong):
		return contextExceeded("", "The "+err.Error()[len("the "):]+".")
	case errors.As(err, &outOfRange):
		return outOfRangeError(outOfRange)
	case errors.Is(err, sampling.ErrNothingLeft):
		return invalid("", "invalid_value", "%s.", upper(err.Error()))
	case errors.Is(err, context.Canceled):
		return &Error{
			Status: StatusClosed, Type: serverError, Message: "The request was cancelled.", cause: err,
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: 504, Type: serverError, Message: "The request took too long.", cause: err}
	}
	return &Error{
		Status: 500, Type: serverError, Code: new("internal_error"),
		Message: "The server could not compute the answer. Its log says why.", cause: err,
	}
}

// invalid is the error of a request with a mistake in a parameter; "" if it is in none.
func invalid(param, code, format string, args ...any) *Error {
	e := &Error{Status: 400, Type: invalidRequest, Code: &code, Message: fmt.Sprintf(format, args...)}
	if param != "" {
		e.Param = &param
	}
	return e
}

// Invalid is the error of a request in which a parameter has the right type and cannot be used. The message
// begins with the parameter's name, to which format is the rest, such as " is %d, not in 1 … 4."
func Invalid(param, format string, args ...any) *Error {
	return invalid(param, "invalid_value", param+format, args...)
}

// contextExceeded is the error of a prompt that is too long for the context. Clients know its code.
func contextExceeded(param, message string) *Error {
	return invalid(param, "context_length_exceeded", "%s", message)
}

// outOfRangeError translates an error about a sampling.Config. The names of its fields are those of
// parameters, but for one.
func outOfRangeError(e *sampling.RangeError) *Error {
	param := e.Field
	if param == "min_new_tokens" {
		param = "min_tokens"
	}
	return invalid(param, "invalid_value", "%s is %v, not %s.", param, e.Value, e.Range)
}

// brief is a text of the client in a message.
func brief(s string) string { return show.Message(s) }

// upper returns a sentence that begins with a capital letter. The first letter is ASCII.
func upper(s string) string {
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
