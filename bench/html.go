package main

import (
	"errors"

	"github.com/galago-go/galago/bench/internal/result"
)

// checkHTML returns an error if no report can be written, before anything is measured.
func checkHTML(path string) error {
	if path == "" {
		return nil
	}
	return errors.New("-html: there is no report yet; -json FILE keeps all figures")
}

// saveHTML writes the report of a session to a file.
func saveHTML(_ *result.File, path string) error { return checkHTML(path) }
