package plan

import "fmt"

// NetworkError means that a state or a plan belongs to another network than a provider reaches.
type NetworkError struct{ text string }

func (e *NetworkError) Error() string { return e.text }

// NetworkErrorf makes a *NetworkError.
func NetworkErrorf(format string, args ...any) error {
	return &NetworkError{fmt.Sprintf(format, args...)}
}

// FileError means that a file is no plan that this program can read, was changed after it was made, or is not encrypted as it should be.
type FileError struct{ Err error }

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }
